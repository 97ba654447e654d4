package tests

import (
	"testing"

	"github.com/px360/px360/gen/client"
)

func TestPatientIsFoundByArabicName(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	token := s.token(adminName, adminPassword)
	hospital := s.create(token, "/api/organizations/hospitals/", map[string]any{"name": "مستشفى", "code": unique("H")})
	s.create(token, "/api/organizations/patients/", map[string]any{
		"mrn": "MRN-1", "first_name": "Ahmad", "last_name": "Ali", "first_name_ar": "أَحْمَد", "last_name_ar": "الهُدى", "primary_hospital": hospital,
	})
	for query, count := range map[string]int64{"احمد": 1, "إحمد الهدي": 1, "أحـمد": 1, "AHMAD": 1, "mrn-1,ali": 1, "ahm%": 0, "a_mad": 0, "zaid": 0} {
		list, err := s.admin.ListPatients(t.Context(), &client.ListPatientsParams{Search: &query})
		must(t, err)
		if list.Count != count {
			t.Errorf("search %q: %d, want %d", query, list.Count, count)
		}
	}
}

// Left out, the hospital of a patient is that of whoever registers them, but for PX Admins, who are of no one's.
func TestNewPatientAndTheirHospital(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	admin := c.person(c.hospital, "PX Admin")
	for name, test := range map[string]struct {
		token string
		want  any
	}{
		"Hospital Admin": {c.admin.access, c.hospital.String()},
		"PX Admin":       {admin.access, nil},
	} {
		body := fields{"mrn": unique("MRN"), "first_name": "Ahmad", "last_name": "Ali"}
		if got := c.expect(t, 201, "POST", "/api/organizations/patients/", test.token, body).json()["primary_hospital"]; got != test.want {
			t.Errorf("%s: the hospital is %v, want %v", name, got, test.want)
		}
	}
}
