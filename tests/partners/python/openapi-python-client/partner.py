"""What a partner does with PX360, with a client by openapi-python-client."""

import itertools
import os
import time
from datetime import datetime, timezone
from typing import TypeVar
from uuid import UUID

from px360_client import AuthenticatedClient, Client, models
from px360_client.api.authentication import create_token
from px360_client.api.events import bulk_create_events, create_event, retrieve_event
from px360_client.api.hospitals import create_hospital
from px360_client.api.integration_configs import create_integration_config
from px360_client.api.patients import create_patient, list_patients, retrieve_patient
from px360_client.api.users import retrieve_me

url = os.environ["SERVER_URL"]
password = os.environ["PX360_ADMIN_PASSWORD"]
run = format(time.time_ns(), "x")  # tells the rows of one run from another's

T = TypeVar("T")


def expect(wanted: type[T], answer: object) -> T:
    """The answer, if it is what the caller wants: a refusal is returned too, not raised."""
    if not isinstance(answer, wanted):
        raise SystemExit(f"refused: {answer}")
    return answer


tokens = expect(models.TokenPair, create_token.sync(client=Client(url), body=models.TokenRequest("admin", password)))
admin = AuthenticatedClient(url, token=tokens.access)
print("logged in as", expect(models.User, retrieve_me.sync(client=admin)).username)

hospital = expect(models.Hospital, create_hospital.sync(client=admin, body=models.HospitalCreate("Partner Hospital", f"H-{run}")))


def patient(mrn: str) -> models.PatientCreate:
    return models.PatientCreate(mrn=mrn, first_name="Sara", last_name="Al-Otaibi", primary_hospital=hospital.id)


for mrn in ["MRN-1", "MRN-2", "MRN-3"]:
    expect(models.Patient, create_patient.sync(client=admin, body=patient(mrn)))

refused = create_patient.sync_detailed(client=admin, body=patient("MRN-1"))
fields = expect(models.BadRequest, refused.parsed)
print(f"refused with {refused.status_code}: mrn: {fields['mrn'][0]}")
missing = retrieve_patient.sync_detailed(UUID(int=0), client=admin)
print(f"refused with {missing.status_code}: {expect(models.Error, missing.parsed).detail}")

# One column: the tool separates several by &, not by commas, which the server refuses.
ordering = [models.ListPatientsOrderingItem.MRN_DESC]
for page in itertools.count(1):
    call = list_patients.sync(client=admin, primary_hospital=hospital.id, ordering=ordering, page=page, page_size=2)
    list_ = expect(models.PatientList, call)
    for row in list_.results:
        print("patient", row.mrn)
    if list_.next_ is None:
        break

config = expect(
    models.IntegrationConfigCreated,
    create_integration_config.sync(
        client=admin, body=models.IntegrationConfigCreate(name="HIS", source_system="his", hospital=hospital.id)
    ),
)
key = expect(str, config.api_key)

his = AuthenticatedClient(url, token=key, auth_header_name="X-API-Key", prefix="")
answer = create_event.sync(
    client=his,
    body=models.EventCreate(
        source_system="his",
        event_code="OPD_VISIT_COMPLETED",
        encounter_id=f"ENC-{run}",
        patient_identifier="MRN-1",
        payload_json={"physician_license": "PHY001", "timestamp": datetime.now(timezone.utc).isoformat()},
        source_event_id=f"MSG-{run}",
    ),
)
match answer:
    case models.EventReceipt() as event:
        print("event:", event.status)
    case models.BadRequest() as wrong:
        raise SystemExit(f"refused: {wrong.to_dict()}")
    case _:
        raise SystemExit(f"refused: {answer}")

items = [
    models.EventBulkItem(source_system="his", event_code="LAB_ORDER_COMPLETED", encounter_id=f"ENC-{run}"),
    models.EventBulkItem(source_system="his", event_code="LAB_ORDER_COMPLETED"),
]
bulk = expect(models.EventBulkResult, bulk_create_events.sync(client=his, body=models.EventBulkCreate(items)))
print(f"bulk: {bulk.created} stored, {bulk.failed} refused")
for error in bulk.errors:
    print(f"bulk: event {error.index}: encounter_id: {error.errors['encounter_id'][0]}")

while (outcome := expect(models.Event, retrieve_event.sync(event.id, client=his))).status == models.EventStatus.PENDING:
    time.sleep(0.1)
print(f"event: {outcome.status}, {outcome.reason}")
