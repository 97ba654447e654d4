import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.JSON;
import org.openapitools.client.api.*;
import org.openapitools.client.model.*;

/** What a partner does with PX360, with a client by openapi-generator's java, library native. */
public class Partner {
  private static final String URL = System.getenv("SERVER_URL");
  private static final String PASSWORD = System.getenv("PX360_ADMIN_PASSWORD");
  private static final String RUN = Long.toString(System.currentTimeMillis(), 36); // tells the rows of one run from another's

  public static void main(String[] args) throws Exception {
    var tokens = new AuthenticationApi(connect()).createToken(new TokenRequest().username("admin").password(PASSWORD));
    var admin = asUser(tokens.getAccess());
    System.out.println("logged in as " + new UsersApi(admin).retrieveMe().getUsername());

    var hospital = new HospitalsApi(admin).createHospital(new HospitalCreate().name("Partner Hospital").code("H-" + RUN)).getId();
    var patients = new PatientsApi(admin);
    for (var mrn : List.of("MRN-1", "MRN-2", "MRN-3")) {
      patients.createPatient(patient(mrn, hospital));
    }
    handleRefusals(patients, hospital);
    listPatients(patients, hospital);

    var config = new IntegrationConfigsApi(admin)
        .createIntegrationConfig(new IntegrationConfigCreate().name("HIS").sourceSystem("his").hospital(hospital));
    sendEvents(new EventsApi(asHospitalSystem(config.getApiKey())));
  }

  private static PatientCreate patient(String mrn, UUID hospital) {
    return new PatientCreate().mrn(mrn).firstName("Sara").lastName("Al-Otaibi").primaryHospital(hospital);
  }

  private static void handleRefusals(PatientsApi patients, UUID hospital) throws Exception {
    try {
      patients.createPatient(patient("MRN-1", hospital));
    } catch (ApiException e) {
      var fields = JSON.getDefault().getMapper().readValue(e.getResponseBody(), BadRequest.class);
      var messages = (List<?>) fields.getAdditionalProperty("mrn");
      System.out.println("refused with " + e.getCode() + ": mrn: " + messages.get(0));
    }
    try {
      patients.retrievePatient(new UUID(0, 0));
    } catch (ApiException e) {
      var error = JSON.getDefault().getMapper().readValue(e.getResponseBody(), org.openapitools.client.model.Error.class);
      System.out.println("refused with " + e.getCode() + ": " + error.getDetail());
    }
  }

  private static void listPatients(PatientsApi patients, UUID hospital) throws ApiException {
    for (int page = 1; ; page++) {
      var list = patients.listPatients(hospital, null, null, null, null, null, null, null, List.of("last_name", "-mrn"), page, 2, null);
      for (var patient : list.getResults()) {
        System.out.println("patient " + patient.getMrn());
      }
      if (list.getNext() == null) {
        return;
      }
    }
  }

  private static void sendEvents(EventsApi his) throws Exception {
    var event = his.createEvent(new EventCreate()
        .sourceSystem("his")
        .eventCode("OPD_VISIT_COMPLETED")
        .encounterId("ENC-" + RUN)
        .patientIdentifier("MRN-1")
        .payloadJson(Map.of("physician_license", "PHY001", "timestamp", Instant.now().toString()))
        .sourceEventId("MSG-" + RUN), null);
    System.out.println("event: " + event.getStatus());

    var bulk = his.bulkCreateEvents(new EventBulkCreate()
        .addEventsItem(new EventBulkItem().sourceSystem("his").eventCode("LAB_ORDER_COMPLETED").encounterId("ENC-" + RUN))
        .addEventsItem(new EventBulkItem().sourceSystem("his").eventCode("LAB_ORDER_COMPLETED")), null);
    System.out.println("bulk: " + bulk.getCreated() + " stored, " + bulk.getFailed() + " refused");
    for (var error : bulk.getErrors()) {
      var messages = (List<?>) error.getErrors().get("encounter_id");
      System.out.println("bulk: event " + error.getIndex() + ": encounter_id: " + messages.get(0));
    }

    var outcome = his.retrieveEvent(event.getId());
    while (outcome.getStatus() == EventStatus.PENDING) {
      Thread.sleep(100);
      outcome = his.retrieveEvent(event.getId());
    }
    System.out.println("event: " + outcome.getStatus() + ", " + outcome.getReason());
  }

  private static ApiClient connect() {
    var api = new ApiClient();
    api.updateBaseUri(URL);
    return api;
  }

  // The library knows no credentials: they are headers.
  private static ApiClient asUser(String accessToken) {
    return connect().setRequestInterceptor(request -> request.header("Authorization", "Bearer " + accessToken));
  }

  private static ApiClient asHospitalSystem(String key) {
    return connect().setRequestInterceptor(request -> request.header("X-API-Key", key));
  }
}
