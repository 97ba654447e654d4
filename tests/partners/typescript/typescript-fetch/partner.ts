// What a partner does with PX360, with a client by openapi-generator's typescript-fetch.
import {
  AuthenticationApi, Configuration, EventsApi, EventStatus, HospitalsApi, IntegrationConfigsApi, ListPatientsOrderingEnum, PatientsApi,
  ResponseError, UsersApi,
} from "./client/index.js";

const basePath = process.env.SERVER_URL!;
const password = process.env.PX360_ADMIN_PASSWORD!;
const run = Date.now().toString(36); // tells the rows of one run from another's

const anonymous = new AuthenticationApi(new Configuration({ basePath }));
const { access } = await anonymous.createToken({ tokenRequest: { username: "admin", password } });
const admin = new Configuration({ basePath, accessToken: access });
console.log("logged in as", (await new UsersApi(admin).retrieveMe()).username);

const hospital = await new HospitalsApi(admin).createHospital({ hospitalCreate: { name: "Partner Hospital", code: `H-${run}` } });
const patients = new PatientsApi(admin);
const create = (mrn: string) =>
  patients.createPatient({ patientCreate: { mrn, firstName: "Sara", lastName: "Al-Otaibi", primaryHospital: hospital.id } });
for (const mrn of ["MRN-1", "MRN-2", "MRN-3"]) await create(mrn);

try {
  await create("MRN-1");
} catch (e) {
  if (!(e instanceof ResponseError)) throw e;
  const fields = await e.response.json();
  console.log(`refused with ${e.response.status}: mrn: ${fields.mrn}`);
}
try {
  await patients.retrievePatient({ id: "00000000-0000-0000-0000-000000000000" });
} catch (e) {
  if (!(e instanceof ResponseError)) throw e;
  const { detail } = await e.response.json();
  console.log(`refused with ${e.response.status}: ${detail}`);
}

const ordering = [ListPatientsOrderingEnum.LastName, ListPatientsOrderingEnum.MRNDesc];
for (let page = 1; ; page++) {
  const list = await patients.listPatients({ primaryHospital: hospital.id, ordering, page, pageSize: 2 });
  for (const patient of list.results) console.log("patient", patient.mrn);
  if (list.next === null) break;
}

const config = await new IntegrationConfigsApi(admin).createIntegrationConfig({
  integrationConfigCreate: { name: "HIS", sourceSystem: "his", hospital: hospital.id },
});
const his = new EventsApi(new Configuration({ basePath, apiKey: config.apiKey }));
const event = await his.createEvent({
  eventCreate: {
    sourceSystem: "his",
    eventCode: "OPD_VISIT_COMPLETED",
    encounterId: `ENC-${run}`,
    patientIdentifier: "MRN-1",
    payloadJson: { physician_license: "PHY001", timestamp: new Date().toISOString() },
    sourceEventId: `MSG-${run}`,
  },
});
console.log("event:", event.status);

const bulk = await his.bulkCreateEvents({
  eventBulkCreate: {
    events: [
      { sourceSystem: "his", eventCode: "LAB_ORDER_COMPLETED", encounterId: `ENC-${run}` },
      { sourceSystem: "his", eventCode: "LAB_ORDER_COMPLETED" },
    ],
  },
});
console.log(`bulk: ${bulk.created} stored, ${bulk.failed} refused`);
for (const { index, errors } of bulk.errors) console.log(`bulk: event ${index}: encounter_id: ${errors.encounter_id}`);

for (;;) {
  const { status, reason } = await his.retrieveEvent({ id: event.id });
  if (status !== EventStatus.Pending) {
    console.log(`event: ${status}, ${reason}`);
    break;
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
}
