// What a partner does with PX360, with types by openapi-typescript and calls by openapi-fetch.
import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "./px360.js";

const baseUrl = process.env.SERVER_URL!;
const password = process.env.PX360_ADMIN_PASSWORD!;
const run = Date.now().toString(36); // tells the rows of one run from another's

// Refused is a call that the server did not do, with its messages by field or its detail.
class Refused extends Error {
  constructor(readonly status: number, readonly body: components["schemas"]["BadRequest"]) {
    super(`refused with ${status}: ${JSON.stringify(body)}`);
  }
}

// Turns the refusal of any call into an exception.
const refusals: Middleware = {
  async onResponse({ response }) {
    if (!response.ok) throw new Refused(response.status, await response.json());
  },
};

// Lists are to be separated by commas: the library does not take that from the contract.
const querySerializer = { array: { style: "form", explode: false } } as const;

function connect(headers: Record<string, string>) {
  const px = createClient<paths>({ baseUrl, headers, querySerializer });
  px.use(refusals);
  return px;
}

const login = await connect({}).POST("/api/auth/token/", { body: { username: "admin", password } });
const px = connect({ Authorization: `Bearer ${login.data!.access}` });
const me = await px.GET("/api/auth/users/me/");
console.log("logged in as", me.data!.username);

const hospital = (await px.POST("/api/organizations/hospitals/", { body: { name: "Partner Hospital", code: `H-${run}` } })).data!;
const patient = (mrn: string) => ({ mrn, first_name: "Sara", last_name: "Al-Otaibi", primary_hospital: hospital.id });
for (const mrn of ["MRN-1", "MRN-2", "MRN-3"]) {
  await px.POST("/api/organizations/patients/", { body: patient(mrn) });
}

try {
  await px.POST("/api/organizations/patients/", { body: patient("MRN-1") });
} catch (e) {
  if (!(e instanceof Refused)) throw e;
  console.log(`refused with ${e.status}: mrn: ${e.body.mrn}`);
}
try {
  await px.GET("/api/organizations/patients/{id}/", { params: { path: { id: "00000000-0000-0000-0000-000000000000" } } });
} catch (e) {
  if (!(e instanceof Refused)) throw e;
  console.log(`refused with ${e.status}: ${e.body.detail}`);
}

for (let page = 1; ; page++) {
  const query = { primary_hospital: hospital.id, ordering: ["last_name" as const, "-mrn" as const], page, page_size: 2 };
  const list = (await px.GET("/api/organizations/patients/", { params: { query } })).data!;
  for (const patient of list.results) console.log("patient", patient.mrn);
  if (list.next === null) break;
}

const config = await px.POST("/api/integrations/configs/", { body: { name: "HIS", source_system: "his", hospital: hospital.id } });
const key = config.data!.api_key!; // shown this once
const encounterId = `ENC-${run}`;
const messageId = `MSG-${run}`;

const his = createClient<paths>({ baseUrl, headers: { "X-API-Key": key } });
const { data: event, error, response } = await his.POST("/api/integrations/events/", {
  body: {
    source_system: "his",
    event_code: "OPD_VISIT_COMPLETED",
    encounter_id: encounterId,
    patient_identifier: "MRN-1",
    payload_json: { physician_license: "PHY001", timestamp: new Date().toISOString() },
    source_event_id: messageId,
  },
});
if (error) throw new Error(`refused with ${response.status}: ${JSON.stringify(error)}`);
console.log("event:", event.status);

const bulk = (await connect({ "X-API-Key": key }).POST("/api/integrations/events/bulk_create/", {
  body: {
    events: [
      { source_system: "his", event_code: "LAB_ORDER_COMPLETED", encounter_id: encounterId },
      { source_system: "his", event_code: "LAB_ORDER_COMPLETED" },
    ],
  },
})).data!;
console.log(`bulk: ${bulk.created} stored, ${bulk.failed} refused`);
for (const { index, errors } of bulk.errors) console.log(`bulk: event ${index}: encounter_id: ${errors.encounter_id}`);

for (;;) {
  const { data } = await his.GET("/api/integrations/events/{id}/", { params: { path: { id: event.id } } });
  if (data && data.status !== "pending") {
    console.log(`event: ${data.status}, ${data.reason}`);
    break;
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
}
