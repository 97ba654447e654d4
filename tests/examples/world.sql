-- The objects that the contract's examples show, under the ids that they have there. One transaction inserts them;
-- what is there already stays as it is.
INSERT INTO hospitals (id, name, name_ar, code, address, city, phone, email, license_number, capacity, created_at, updated_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000001', 'AlHammadi Hospital', 'مستشفى الحمادي', 'HOSP001', '123 Main St', 'Riyadh',
        '+966112345678', 'info@alhammadi.sa', 'LIC123', 200, '2025-12-14T09:00:00Z', '2025-12-14T09:00:00Z')
ON CONFLICT DO NOTHING;

-- Two refer to each other, so the manager comes last.
INSERT INTO departments (id, hospital_id, name, name_ar, code, phone, location, created_at, updated_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000002', '0193c5a0-7a00-7000-8000-000000000001', 'Outpatient Department',
        'قسم العيادات الخارجية', 'DEPT_OPD', '+966112345679', 'Building A, Floor 1', '2025-12-14T09:00:00Z', '2025-12-14T09:00:00Z')
ON CONFLICT DO NOTHING;

-- No password matches this one: `px360 user set-password jdoe` gives another.
INSERT INTO users (id, username, email, password, first_name, last_name, phone, employee_id, language, hospital_id,
                   department_id, last_login, created_at, updated_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000003', 'jdoe', 'jdoe@hospital.sa', '!', 'John', 'Doe', '+966501234567', 'EMP-1001', 'ar',
        '0193c5a0-7a00-7000-8000-000000000001', '0193c5a0-7a00-7000-8000-000000000002', '2025-12-14T09:00:00Z',
        '2025-12-14T09:00:00Z', '2025-12-14T09:00:00Z')
ON CONFLICT DO NOTHING;
INSERT INTO user_roles (user_id, role_id)
SELECT '0193c5a0-7a00-7000-8000-000000000003', id FROM roles WHERE name = 'Hospital Admin'
ON CONFLICT DO NOTHING;
UPDATE departments SET manager_id = '0193c5a0-7a00-7000-8000-000000000003'
WHERE id = '0193c5a0-7a00-7000-8000-000000000002' AND manager_id IS NULL;

INSERT INTO physicians (id, first_name, last_name, first_name_ar, last_name_ar, license_number, specialization, hospital_id,
                        department_id, phone, email, created_at, updated_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000004', 'Ahmed', 'Al-Saud', 'أحمد', 'السعود', 'PHY001', 'Internal Medicine',
        '0193c5a0-7a00-7000-8000-000000000001', '0193c5a0-7a00-7000-8000-000000000002', '+966501234567',
        'ahmed.alsaud@hospital.sa', '2025-12-14T09:00:00Z', '2025-12-14T09:00:00Z')
ON CONFLICT DO NOTHING;

INSERT INTO patients (id, mrn, national_id, first_name, last_name, first_name_ar, last_name_ar, date_of_birth, gender, phone,
                      email, address, city, primary_hospital_id, created_at, updated_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000005', 'MRN123456', '1234567890', 'Mohammed', 'Ali', 'محمد', 'علي', '1990-01-15', 'male',
        '+966501234567', 'mohammed.ali@email.com', '123 Street, District', 'Riyadh', '0193c5a0-7a00-7000-8000-000000000001',
        '2025-12-14T09:00:00Z', '2025-12-14T09:00:00Z')
ON CONFLICT DO NOTHING;

INSERT INTO survey_templates (id, hospital_id, name, name_ar, description, created_at, updated_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000006', '0193c5a0-7a00-7000-8000-000000000001', 'MD Consultation Survey',
        'استبيان استشارة الطبيب', 'Asked after each consultation.', '2025-12-14T09:00:00Z', '2025-12-14T09:00:00Z')
ON CONFLICT DO NOTHING;

INSERT INTO survey_versions (survey_template_id, version, questions, created_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000006', 1, '[
    {"id": "0193c5a0-7a00-7000-8000-000000000030", "text": "How was your doctor?", "text_ar": "كيف كان طبيبك؟",
     "question_type": "rating", "is_required": true, "is_scored": true, "weight": 1, "positive_answer": "yes", "choices": [],
     "max_choices": 1, "action_on": []},
    {"id": "0193c5a0-7a00-7000-8000-000000000031", "text": "May we call you?", "text_ar": "هل يمكننا الاتصال بك؟",
     "question_type": "yes_no", "is_required": false, "is_scored": false, "weight": 1, "positive_answer": "yes", "choices": [],
     "max_choices": 1, "action_on": ["yes"]}]', '2025-12-14T09:00:00Z')
ON CONFLICT DO NOTHING;

INSERT INTO journey_templates (id, name, name_ar, journey_type, description, hospital_id, is_default,
                               post_discharge_survey_template_id, created_at, updated_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000007', 'Standard OPD Journey', 'رحلة العيادات الخارجية القياسية', 'opd',
        'Standard outpatient journey', '0193c5a0-7a00-7000-8000-000000000001', true,
        '0193c5a0-7a00-7000-8000-000000000006', '2025-12-14T09:00:00Z', '2025-12-14T09:00:00Z')
ON CONFLICT DO NOTHING;

INSERT INTO stage_templates (id, hospital_id, journey_template_id, name, name_ar, code, "order", trigger_event_code,
                             survey_template_id, auto_send_survey, survey_delay_hours, requires_physician,
                             requires_department, is_optional, created_at, updated_at)
SELECT s.id::uuid, '0193c5a0-7a00-7000-8000-000000000001', '0193c5a0-7a00-7000-8000-000000000007', s.name, s.name_ar, s.code,
       s."order", s.event, s.survey::uuid, s.survey IS NOT NULL, s.delay, s.needs, s.needs, s.is_optional,
       '2025-12-14T09:00:00Z', '2025-12-14T09:00:00Z'
FROM (VALUES
    ('0193c5a0-7a00-7000-8000-000000000008', 'MD Consultation', 'استشارة الطبيب', 'OPD_MD_CONSULT', 1, 'OPD_VISIT_COMPLETED',
     '0193c5a0-7a00-7000-8000-000000000006', 2, true, false),
    ('0193c5a0-7a00-7000-8000-000000000014', 'Laboratory', 'المختبر', 'OPD_LAB', 2, 'LAB_ORDER_COMPLETED', NULL, 0, false, false),
    ('0193c5a0-7a00-7000-8000-000000000015', 'Pharmacy', 'الصيدلية', 'OPD_PHARMACY', 3, 'PHARMACY_DISPENSED', NULL, 0, false, true)
) AS s (id, name, name_ar, code, "order", event, survey, delay, needs, is_optional)
ON CONFLICT DO NOTHING;

-- A visit from before the pharmacy became a stage: the consultation is done, the laboratory is not.
INSERT INTO journey_instances (id, journey_template_id, patient_id, encounter_id, hospital_id, department_id, metadata,
                               started_at, started_at_stated, created_at, updated_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000009', '0193c5a0-7a00-7000-8000-000000000007', '0193c5a0-7a00-7000-8000-000000000005',
        'ENC20251214001', '0193c5a0-7a00-7000-8000-000000000001', '0193c5a0-7a00-7000-8000-000000000002',
        '{"admission_type": "scheduled", "referring_physician": "Dr. Smith"}', '2025-12-14T09:00:00Z', true,
        '2025-12-14T09:00:00Z', '2025-12-14T09:00:00Z')
ON CONFLICT DO NOTHING;

INSERT INTO stage_instances (id, hospital_id, journey_instance_id, stage_template_id, name, name_ar, code, "order",
                             trigger_event_code, survey_template_id, auto_send_survey, survey_delay_hours, requires_physician,
                             requires_department, is_optional, status, completed_at, completed_by_event, physician_id,
                             department_id, created_at, updated_at)
SELECT s.id::uuid, t.hospital_id, '0193c5a0-7a00-7000-8000-000000000009', t.id, t.name, t.name_ar, t.code, t."order",
       t.trigger_event_code, t.survey_template_id, t.auto_send_survey, t.survey_delay_hours, t.requires_physician,
       t.requires_department, t.is_optional, s.status, s.completed_at::timestamptz, s.event::uuid, s.physician::uuid,
       s.department::uuid, '2025-12-14T09:00:00Z', '2025-12-14T09:00:00Z'
FROM (VALUES
    ('0193c5a0-7a00-7000-8000-000000000010', 'OPD_MD_CONSULT', 'completed', '2025-12-14T10:45:00Z',
     '0193c5a0-7a00-7000-8000-000000000011', '0193c5a0-7a00-7000-8000-000000000004', '0193c5a0-7a00-7000-8000-000000000002'),
    ('0193c5a0-7a00-7000-8000-000000000016', 'OPD_LAB', 'pending', NULL, NULL, NULL, NULL)
) AS s (id, code, status, completed_at, event, physician, department)
JOIN stage_templates t ON t.code = s.code AND t.journey_template_id = '0193c5a0-7a00-7000-8000-000000000007'
ON CONFLICT DO NOTHING;

-- One survey waits, and is attended to by nobody until it is sent or cancelled; one about the whole visit was sent, with a
-- link that ends in cHgzNjAtZXhhbXBsZS1zdQ.
INSERT INTO surveys (id, hospital_id, survey_template_id, journey_instance_id, stage_instance_id, due_at, next_at, decisions,
                     created_at, updated_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000012', '0193c5a0-7a00-7000-8000-000000000001', '0193c5a0-7a00-7000-8000-000000000006',
        '0193c5a0-7a00-7000-8000-000000000009', '0193c5a0-7a00-7000-8000-000000000010', '2025-12-14T12:45:00Z', 'infinity',
        '[{"at": "2025-12-14T18:45:00Z", "rule": "quiet_hours", "outcome": "deferred", "until": "2025-12-15T06:00:00Z"}]',
        '2025-12-14T10:45:01Z', '2025-12-14T10:45:01Z')
ON CONFLICT DO NOTHING;

INSERT INTO surveys (id, hospital_id, survey_template_id, journey_instance_id, due_at, next_at, asked_at, sent_at, viewed_at,
                     expires_at, status, language, token_hash, reminders, decisions, created_at, updated_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000032', '0193c5a0-7a00-7000-8000-000000000001', '0193c5a0-7a00-7000-8000-000000000006',
        '0193c5a0-7a00-7000-8000-000000000009', '2025-12-14T12:45:00Z', '2099-12-28T12:45:02Z', '2025-12-14T12:45:01Z',
        '2025-12-14T12:45:02Z', '2025-12-14T13:05:00Z', '2099-12-28T12:45:02Z', 'viewed', 'ar', sha256('px360-example-su'), 1,
        '[{"at": "2025-12-14T12:45:01Z", "rule": "invitation", "outcome": "queued", "until": null}]',
        '2025-12-14T10:45:01Z', '2025-12-14T12:45:02Z')
ON CONFLICT DO NOTHING;

-- As of today, so that scores show it.
INSERT INTO survey_sections (survey_id, position, survey_template_id, version, hospital_id, journey_type, department_id, sent_at, sent_on)
VALUES ('0193c5a0-7a00-7000-8000-000000000032', 1, '0193c5a0-7a00-7000-8000-000000000006', 1, '0193c5a0-7a00-7000-8000-000000000001',
        'opd', '0193c5a0-7a00-7000-8000-000000000002', now(), current_date)
ON CONFLICT DO NOTHING;

INSERT INTO survey_messages (id, survey_id, kind, channel, status, attempt, address, provider_id, created_at, sent_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000033', '0193c5a0-7a00-7000-8000-000000000032', 'invitation', 'sms', 'sent', 1, '+966501234567',
        '4711', '2025-12-14T12:45:01Z', '2025-12-14T12:45:02Z')
ON CONFLICT DO NOTHING;

-- One action was opened by hand; another waits for approval. Neither is watched: next_at is null.
INSERT INTO actions (id, hospital_id, department_id, assigned_to, journey_instance_id, physician_id, patient_id, source_type, title,
                     description, priority, status, resolution, version, sla, running_since, due_at, created_at, updated_at)
SELECT a.id::uuid, h.id, '0193c5a0-7a00-7000-8000-000000000002', '0193c5a0-7a00-7000-8000-000000000003',
       '0193c5a0-7a00-7000-8000-000000000009', '0193c5a0-7a00-7000-8000-000000000004', '0193c5a0-7a00-7000-8000-000000000005',
       'manual', a.title, a.description, 'high', a.status, a.resolution, a.version,
       jsonb_build_object('timezone', h.timezone, 'business_hours', h.business_hours, 'holidays', h.holidays, 'action_sla', h.action_sla),
       a.since::timestamptz, a.due::timestamptz, '2025-12-14T09:00:00Z', '2025-12-14T09:00:00Z'
FROM hospitals h, (VALUES
    ('0193c5a0-7a00-7000-8000-000000000040', 'Call Mr. Ali back', 'He waited for an hour and nobody told him why.', 'open', '', 1,
     '2099-12-14T09:00:00Z', '2099-12-15T09:00:00Z'),
    ('0193c5a0-7a00-7000-8000-000000000041', 'Explain the bill', '', 'pending_approval', 'The cashier went through it with the patient.', 3, NULL, NULL)
) AS a (id, title, description, status, resolution, version, since, due)
WHERE h.id = '0193c5a0-7a00-7000-8000-000000000001'
ON CONFLICT DO NOTHING;

INSERT INTO action_log (id, action_id, kind, actor_id, actor_name, note, created_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000043', '0193c5a0-7a00-7000-8000-000000000041', 'note', '0193c5a0-7a00-7000-8000-000000000003',
        'jdoe', 'He asked to be called in the evening.', '2025-12-14T10:00:00Z')
ON CONFLICT DO NOTHING;

-- The endpoint's secret is none: rotating it makes one. One message to it was given up.
INSERT INTO webhook_endpoints (id, hospital_id, url, description, events, secret, created_at, updated_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000050', '0193c5a0-7a00-7000-8000-000000000001', 'https://partner.example/px360', 'Partner',
        '{survey.completed,sla.breached}', '', '2025-12-14T09:00:00Z', '2025-12-14T09:00:00Z')
ON CONFLICT DO NOTHING;

INSERT INTO webhook_events (seq, hospital_id, type, object_id, version, fanned_out, created_at) OVERRIDING SYSTEM VALUE
VALUES (-1, '0193c5a0-7a00-7000-8000-000000000001', 'survey.completed',
        '0193c5a0-7a00-7000-8000-000000000032', 2, true, '2099-12-14T13:05:59Z')
ON CONFLICT DO NOTHING;

INSERT INTO webhook_messages (id, endpoint_id, seq, object_id, type, status, attempt, attempts, created_at)
SELECT '0193c5a0-7a00-7000-8000-000000000051', '0193c5a0-7a00-7000-8000-000000000050', v.seq, v.object_id, v.type, 'failed', 10,
       '[{"at": "2099-12-14T13:06:00Z", "status_code": 500, "milliseconds": 84, "error": "The answer was 500."}]', '2099-12-14T13:05:59Z'
FROM webhook_events v WHERE v.seq = -1
ON CONFLICT DO NOTHING;

-- No key has this hash: rotating it makes one.
INSERT INTO integration_configs (id, name, source_system, hospital_id, description, api_url, api_key_hash, config_json,
                                 created_at, updated_at)
VALUES ('0193c5a0-7a00-7000-8000-000000000013', 'HIS Integration', 'his', '0193c5a0-7a00-7000-8000-000000000001',
        'Hospital Information System', 'https://his.hospital.sa/api/', '', '{"timeout": 30, "retry_attempts": 3}',
        '2025-12-14T09:00:00Z', '2025-12-14T09:00:00Z')
ON CONFLICT DO NOTHING;

-- One event completed the consultation; of the encounter of the other there is no journey.
INSERT INTO events (id, source_system, event_code, encounter_id, patient_identifier, payload_json, source_event_id, hospital_id,
                    sender_kind, sender_id, status, reason, error_message, attempts, received_at, processed_at, updated_at,
                    journey_instance_id, stage_instance_id, survey_id)
VALUES ('0193c5a0-7a00-7000-8000-000000000011', 'his', 'OPD_VISIT_COMPLETED', 'ENC20251214001', 'MRN123456',
        '{"physician_license": "PHY001", "department_code": "DEPT_OPD", "visit_date": "2025-12-14", "visit_time": "10:30:00",
          "timestamp": "2025-12-14T10:45:00Z"}',
        'MSG-000123', '0193c5a0-7a00-7000-8000-000000000001', 'key', '0193c5a0-7a00-7000-8000-000000000013', 'processed', '', '', 1,
        '2025-12-14T10:45:01Z', '2025-12-14T10:45:01Z', '2025-12-14T10:45:01Z', '0193c5a0-7a00-7000-8000-000000000009',
        '0193c5a0-7a00-7000-8000-000000000010', '0193c5a0-7a00-7000-8000-000000000012'),
       ('0193c5a0-7a00-7000-8000-000000000017', 'lab', 'LAB_ORDER_COMPLETED', 'ENC20251213001', 'MRN123456',
        '{"timestamp": "2025-12-13T18:20:00Z"}',
        'MSG-000122', '0193c5a0-7a00-7000-8000-000000000001', 'user', '0193c5a0-7a00-7000-8000-000000000003', 'ignored', 'no_journey',
        'No journey found for encounter ENC20251213001.', 1, '2025-12-13T18:20:01Z', '2025-12-13T18:20:01Z', '2025-12-13T18:20:01Z',
        NULL, NULL, NULL)
ON CONFLICT DO NOTHING;
