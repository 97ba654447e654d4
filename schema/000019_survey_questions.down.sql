DROP TABLE survey_versions;
ALTER TABLE survey_templates
    DROP COLUMN description, DROP COLUMN description_ar, DROP COLUMN survey_type, DROP COLUMN scoring_method,
    DROP COLUMN negative_threshold, DROP COLUMN sms_text, DROP COLUMN sms_text_ar, DROP COLUMN email_subject,
    DROP COLUMN email_subject_ar, DROP COLUMN reminder_hours, DROP COLUMN expires_after_days,
    DROP COLUMN ignore_contact_cap, DROP COLUMN version;
