DROP VIEW survey_parts;
DROP TABLE survey_suppressions, survey_messages, survey_responses, survey_sections;
