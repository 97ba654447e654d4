package tests

import (
	"net/http"
	"testing"
)

// defaultDeadlines are the settings about actions that a hospital has which never changed them.
const defaultDeadlines = `"action_sla":{"high":{"clock":"calendar","hours":24},"low":{"clock":"business","hours":45},"medium":{"clock":"business","hours":27},"urgent":{"clock":"calendar","hours":4}},` +
	`"business_hours":{"fri":[],"mon":[["08:00","17:00"]],"sat":[],"sun":[["08:00","17:00"]],"thu":[["08:00","17:00"]],"tue":[["08:00","17:00"]],"wed":[["08:00","17:00"]]}`

const defaultSettings = `{` + defaultDeadlines + `,"holidays":[],"channels":["sms","email"],"contact_cap":{"days":30,"surveys":3},"language":"ar","quiet_hours":{"end":"09:00","start":"21:00"},"timezone":"Asia/Riyadh"}`

func TestHospitalSettings(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	nurse, stranger := c.person(c.hospital, "Nurse"), c.clinic().admin
	path := "/api/organizations/hospitals/" + c.hospital.String() + "/settings/"
	want := func(method, token string, body any, status int, answer string) {
		t.Helper()
		if a := c.expect(t, status, method, path, token, body); answer != "" && canonical(t, a.body) != canonical(t, answer) {
			t.Errorf("%s %s: %s, want %s", method, jsonText(body), a.body, answer)
		}
	}
	want("GET", nurse.access, nil, http.StatusOK, defaultSettings)
	want("PATCH", nurse.access, fields{"language": "en"}, http.StatusForbidden, "")
	want("GET", stranger.access, nil, http.StatusNotFound, "")
	want("PATCH", stranger.access, fields{"language": "en"}, http.StatusNotFound, "")
	want("PATCH", stranger.access, fields{"language": "xx"}, http.StatusNotFound, "")

	token := c.admin.access
	want("PATCH", token, fields{"language": "en", "channels": []string{}, "quiet_hours": fields{"start": "22:30", "end": "07:00"}}, http.StatusOK,
		`{`+defaultDeadlines+`,"holidays":[],"channels":[],"contact_cap":{"days":30,"surveys":3},"language":"en","quiet_hours":{"end":"07:00","start":"22:30"},"timezone":"Asia/Riyadh"}`)
	whole := fields{
		"timezone": "Africa/Cairo", "language": "ar", "channels": []string{"email"},
		"quiet_hours": fields{"start": "00:00", "end": "00:00"}, "contact_cap": fields{"surveys": 1, "days": 90},
		"business_hours": fields{
			"sun": []any{[]string{"08:00", "12:00"}, []string{"13:00", "24:00"}}, "mon": []any{}, "tue": []any{}, "wed": []any{}, "thu": []any{}, "fri": []any{}, "sat": []any{},
		},
		"holidays": []string{"2026-09-23"},
		"action_sla": fields{
			"low": fields{"hours": 40, "clock": "business"}, "medium": fields{"hours": 20, "clock": "business"},
			"high": fields{"hours": 12, "clock": "calendar"}, "urgent": fields{"hours": 2, "clock": "calendar"},
		},
	}
	want("PUT", token, whole, http.StatusOK, jsonText(whole))
	want("GET", c.px.access, nil, http.StatusOK, jsonText(whole))
	want("PUT", token, fields{"language": "en"}, http.StatusBadRequest, `{"action_sla":["This field is required."],"business_hours":["This field is required."],"channels":["This field is required."],
		"contact_cap":["This field is required."],"holidays":["This field is required."],"quiet_hours":["This field is required."],"timezone":["This field is required."]}`)
	for answer, change := range map[string]fields{
		`{"business_hours":["Intervals must end after they begin and not overlap."]}`:  {"business_hours": fields{"mon": []any{[]string{"08:00", "12:00"}, []string{"11:00", "13:00"}}}},
		`{"business_hours": ["Intervals must end after they begin and not overlap."]}`: {"business_hours": fields{"mon": []any{[]string{"22:00", "06:00"}}}},
		`{"business_hours":{"mon":["Enter a time of day from 00:00 to 24:00."]}}`:      {"business_hours": fields{"mon": []any{[]string{"08:00", "24:01"}}}},
		`{"business_hours":{"mon":["Ensure this field has at least 2 elements."]}}`:    {"business_hours": fields{"mon": []any{[]string{"08:00"}}}},
		`{"action_sla":["A target needs some time."]}`: {"action_sla": fields{
			"low": fields{"hours": 0, "clock": "calendar"}, "medium": fields{"hours": 1, "clock": "calendar"}, "high": fields{"hours": 1, "clock": "calendar"}, "urgent": fields{"hours": 0, "seconds": 0, "clock": "calendar"},
		}},
		`{"action_sla":["A business clock needs business hours."]}`:                     {"business_hours": fields{}},
		`{"timezone":["Unknown time zone."]}`:                                           {"timezone": "Asia/Nowhere"},
		`{"timezone": ["Unknown time zone."] }`:                                         {"timezone": "Local"},
		`{"timezone": ["Unknown time zone."]}`:                                          {"timezone": "../../etc/passwd"},
		`{"timezone":["Unknown time zone."],"channels":["Name each channel once."]}`:    {"timezone": "X", "channels": []string{"sms", "sms"}},
		`{"channels":["\"fax\" is not a valid choice."]}`:                               {"channels": []string{"sms", "fax"}},
		`{"quiet_hours":{"end":["Enter a time of day such as 21:00."]}}`:                {"quiet_hours": fields{"start": "21:00", "end": "24:00"}},
		`{"quiet_hours":{"end":["This field is required."]}}`:                           {"quiet_hours": fields{"start": "21:00"}},
		`{"contact_cap":{"days":["Ensure this value is greater than or equal to 1."]}}`: {"contact_cap": fields{"surveys": 1, "days": 0}},
	} {
		want("PATCH", token, change, http.StatusBadRequest, answer)
	}
	want("GET", nurse.access, nil, http.StatusOK, jsonText(whole))

	changed := value[string](c.system, `SELECT string_agg(array_to_string(ARRAY(SELECT unnest(changed_fields) f ORDER BY f), ' '), ', ' ORDER BY id)
		FROM audit_log WHERE object_type = 'hospital' AND object_id = $1`, c.hospital)
	if want := "channels language quiet_hours, action_sla business_hours channels contact_cap holidays language quiet_hours timezone"; changed != want {
		t.Errorf("the audit has %q, want %q", changed, want)
	}
}

// canonical is JSON without a difference in spaces and the order of members.
func canonical(t *testing.T, text string) string {
	t.Helper()
	return jsonText(decode([]byte(text)))
}
