// Package client speaks to PX360: it sends the events of hospital systems, and reads and writes everything else that the
// API has.
//
// A [Client] is made once and used by any number of goroutines:
//
//	px, err := client.New("https://px360.example.org", client.WithAPIKey(key))
//
// [WithAPIKey] is for systems that send events. [WithPassword] is for everything else: the client logs in when it first
// needs to, and renews its token by itself.
//
// # Calls
//
// Each operation of the API is a method, named after its operationId. It returns the answer, or nil and an error:
//
//	patient, err := px.CreatePatient(ctx, client.PatientCreate{
//		MRN:       "MRN123456",
//		FirstName: "Sara",
//		LastName:  "Al-Otaibi",
//		Gender:    client.Ptr(client.GenderFemale),
//	})
//
// What may be left out is a pointer, made by [Ptr]. What may also be set to null is a nullable value, made by [Value] or
// [Null]; its zero value is left out. Lists come page by page, or row by row over all pages:
//
//	for patient, err := range px.AllPatients(ctx, &client.ListPatientsParams{City: client.Ptr("Riyadh")}) {
//
// # Errors
//
// Whatever goes wrong with a call is an [*Error], also when there was no answer at all:
//
//	var failure *client.Error
//	if errors.As(err, &failure) && failure.Status == http.StatusBadRequest {
//		fmt.Println(failure.Fields["gender"])
//	}
//
// # Retries
//
// A server that is busy or limits the rate says how long to wait, and has done nothing: every call waits and is made
// again. Where nobody knows whether the server acted, because the connection was lost or the answer's code is
// [CodeOutcomeUnknown], a call is made again only if that does no harm: GET, PUT, DELETE, logins, and the creation of
// events, which carries an Idempotency-Key. Other calls return an [*Error] whose MaybeDone is true, unless they are made
// [WithRepeats]. [WithMaxWait] bounds how long a call waits in all, and so does its context.
//
// # Events
//
// [Client.CreateEvent] sends one event. [Client.SendEvents] sends any number, in order, in as few requests as may be, and
// reports on each.
package client
