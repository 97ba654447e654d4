package tests

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
)

func TestPatientIsFoundByArabicName(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	ctx := t.Context()
	hospital := try(s.admin.CreateHospital(ctx, client.HospitalCreate{Name: "مستشفى", Code: unique("H")})).ok(t).ID
	try(s.admin.CreatePatient(ctx, client.PatientCreate{
		MRN: "MRN-1", FirstName: "Ahmad", LastName: "Ali", FirstNameAr: client.Ptr("أَحْمَد"), LastNameAr: client.Ptr("الهُدى"),
		PrimaryHospital: client.Value(hospital),
	})).ok(t)
	for query, count := range map[string]int64{"احمد": 1, "إحمد الهدي": 1, "أحـمد": 1, "AHMAD": 1, "mrn-1,ali": 1, "ahm%": 0, "a_mad": 0, "zaid": 0} {
		if list := try(s.admin.ListPatients(ctx, &client.ListPatientsParams{Search: &query})).ok(t); list.Count != count {
			t.Errorf("search %q: %d, want %d", query, list.Count, count)
		}
	}
}

// Left out, the hospital of a patient is that of whoever registers them, but for PX Admins, who are of no one's.
func TestNewPatientAndTheirHospital(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	for name, test := range map[string]struct {
		person
		want *uuid.UUID
	}{
		"Hospital Admin": {c.admin, &c.hospital},
		"PX Admin":       {c.person(c.hospital, "PX Admin"), nil},
	} {
		made := try(test.CreatePatient(t.Context(), client.PatientCreate{MRN: unique("MRN"), FirstName: "Ahmad", LastName: "Ali"})).ok(t)
		if fmt.Sprint(made.PrimaryHospital) != fmt.Sprint(test.want) {
			t.Errorf("%s: the hospital is %v, want %v", name, made.PrimaryHospital, test.want)
		}
	}
}
