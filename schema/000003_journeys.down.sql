DROP TABLE surveys;
DROP TABLE stage_instances;
DROP TABLE journey_instances;
DROP TABLE stage_templates;
DROP TABLE journey_templates;
DROP TABLE survey_templates;
