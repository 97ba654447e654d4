-- People look for one patient of a million by the numbers that they have, and for those who came last.
CREATE INDEX patients_mrn_idx ON patients (mrn);
CREATE INDEX patients_national_id_idx ON patients (national_id) WHERE national_id <> '';
CREATE INDEX patients_phone_idx ON patients (phone) WHERE phone <> '';
CREATE INDEX patients_created_at_idx ON patients (created_at);
