"""What a partner does with PX360, with a client by openapi-generator's python."""

import itertools
import json
import os
import time
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

import px360_client as px360

host = os.environ["SERVER_URL"]
password = os.environ["PX360_ADMIN_PASSWORD"]
run = format(time.time_ns(), "x")  # tells the rows of one run from another's

anonymous = px360.ApiClient(px360.Configuration(host))
tokens = px360.AuthenticationApi(anonymous).create_token(px360.TokenRequest(username="admin", password=password))
admin = px360.ApiClient(px360.Configuration(host, access_token=tokens.access))
print("logged in as", px360.UsersApi(admin).retrieve_me().username)

hospital = px360.HospitalsApi(admin).create_hospital(px360.HospitalCreate(name="Partner Hospital", code=f"H-{run}"))
patients = px360.PatientsApi(admin)


def create(mrn: str) -> px360.Patient:
    return patients.create_patient(
        px360.PatientCreate(mrn=mrn, first_name="Sara", last_name="Al-Otaibi", primary_hospital=hospital.id)
    )


for mrn in ["MRN-1", "MRN-2", "MRN-3"]:
    create(mrn)


def body(e: px360.ApiException) -> dict[str, Any]:
    """What a refusal says: messages by field, or a detail."""
    return json.loads(e.body or "{}")


try:
    create("MRN-1")
except px360.exceptions.BadRequestException as e:
    print(f"refused with {e.status}: mrn: {body(e)['mrn'][0]}")
try:
    patients.retrieve_patient(UUID(int=0))
except px360.exceptions.NotFoundException as e:
    print(f"refused with {e.status}: {body(e)['detail']}")

for page in itertools.count(1):
    list_ = patients.list_patients(primary_hospital=hospital.id, ordering=["last_name", "-mrn"], page=page, page_size=2)
    for patient in list_.results:
        print("patient", patient.mrn)
    if list_.next is None:
        break

config = px360.IntegrationConfigsApi(admin).create_integration_config(
    px360.IntegrationConfigCreate(name="HIS", source_system="his", hospital=hospital.id)
)
key = config.api_key or ""  # shown this once
encounter_id = f"ENC-{run}"
message_id = f"MSG-{run}"

his = px360.EventsApi(px360.ApiClient(px360.Configuration(host, api_key={"apiKey": key})))
try:
    event = his.create_event(
        px360.EventCreate(
            source_system="his",
            event_code="OPD_VISIT_COMPLETED",
            encounter_id=encounter_id,
            patient_identifier="MRN-1",
            payload_json={"physician_license": "PHY001", "timestamp": datetime.now(timezone.utc).isoformat()},
            source_event_id=message_id,
        )
    )
    print("event:", event.status.value)
except px360.ApiException as e:
    raise SystemExit(f"refused with {e.status}: {e.body}")

items = [
    {"source_system": "his", "event_code": "LAB_ORDER_COMPLETED", "encounter_id": encounter_id},
    {"source_system": "his", "event_code": "LAB_ORDER_COMPLETED"},
]
bulk = his.bulk_create_events(px360.EventBulkCreate(events=[px360.EventBulkItem(**item) for item in items]))
print(f"bulk: {bulk.created} stored, {bulk.failed} refused")
for error in bulk.errors:
    print(f"bulk: event {error.index}: encounter_id: {error.errors['encounter_id'][0]}")

while (outcome := his.retrieve_event(event.id)).status == px360.EventStatus.PENDING:
    time.sleep(0.1)
print(f"event: {outcome.status.value}, {outcome.reason}")
