package tests

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
)

const (
	attackedLogin  = "/api/auth/token/"
	attackedEvents = "/api/integrations/events/"
	attackedBulk   = "/api/integrations/events/bulk_create/"
)

// TestHostileLogins sends logins that must fail, and must not reveal whether the user exists.
func TestHostileLogins(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	active, inactive := h.person(h.hospital), h.person(h.hospital)
	h.exec("UPDATE users SET is_active = false WHERE id = $1", inactive.id)
	h.exec("UPDATE users SET password = '!' || password WHERE id = $1", h.admin.id)
	unreadable := h.person(h.hospital)
	h.exec("UPDATE users SET password = 'md5$abc$0' WHERE id = $1", unreadable.id)
	h.snapshot()
	const guess = "Wrong-guess-4711!"
	h.secret(guess)

	var attacks []attack
	try := func(name string, body any, status int, want string) {
		attacks = append(attacks, attack{name: name, path: attackedLogin, token: noToken, body: body, status: status, want: want})
	}
	user := func(name any) fields { return fields{"username": name, "password": guess} }
	// The answer does not reveal whether the user exists.
	try("wrong password", user(active.username), 401, bodyNoLogin)
	try("unknown user", user(unique("nobody")), 401, bodyNoLogin)
	try("inactive user", fields{"username": inactive.username, "password": password}, 401, bodyNoLogin)
	try("inactive user, wrong password", user(inactive.username), 401, bodyNoLogin)
	try("unusable password", fields{"username": h.admin.username, "password": password}, 401, bodyNoLogin)
	try("unreadable password", fields{"username": unreadable.username, "password": password}, 401, bodyNoLogin)
	try("other case", fields{"username": strings.ToUpper(active.username), "password": password}, 401, bodyNoLogin)
	try("hash for password", fields{"username": active.username, "password": value[string](h.system, "SELECT password FROM users WHERE id = $1", active.id)}, 401, bodyNoLogin)
	for i, name := range []string{
		"' OR '1'='1", "admin'--", `admin"; DROP TABLE users; --`, "admin' UNION SELECT * FROM users --", "%", "_____", "*", "admin)(|(uid=*", "../admin",
		"${jndi:ldap://127.0.0.1:1/a}", "{{7*7}}", "<script>alert(1)</script>", "ادمن", "ａｄｍｉｎ", "admin\u200b", "\u202eadmin",
	} {
		try(fmt.Sprintf("name %d", i), user(name), 401, bodyNoLogin)
	}
	try("NUL in the name", user("admin\x00"), 400, fieldError("username", msgNUL))
	try("NUL in the password", fields{"username": active.username, "password": password + "\x00"}, 400, fieldError("password", msgNUL))
	try("long name", user(strings.Repeat("a", 151)), 400, fieldError("username", "Ensure this field has no more than 150 characters."))
	try("long password", fields{"username": "admin", "password": strings.Repeat("a", 4097)}, 400, fieldError("password", "Ensure this field has no more than 4096 characters."))
	try("password of many bytes", fields{"username": active.username, "password": strings.Repeat("é", 4000)}, 401, bodyNoLogin)
	try("password of 1 MB", fields{"username": active.username, "password": strings.Repeat("a", 1<<20)}, 413, bodyTooLarge)
	try("huge JSON", `{"username":"admin","password":"x","more":[`+strings.Repeat("1,", 1<<20)+`1]}`, 413, bodyTooLarge)
	try("name as a list", user([]string{"admin"}), 400, fieldError("username", msgText))
	try("name as an object", user(fields{"$ne": nil}), 400, fieldError("username", msgText))
	try("password as a number", fields{"username": "admin", "password": 0}, 400, fieldError("password", msgText))
	try("password null", fields{"username": "admin", "password": nil}, 400, fieldError("password", msgNull))
	try("password blank", fields{"username": "admin", "password": "   "}, 400, fieldError("password", msgBlank))
	try("name twice", `{"username":"admin","username":"root","password":"x"}`, 400, bodyParseError)
	try("Username", `{"Username":"admin","Password":"`+adminPassword+`"}`, 400, `{"password":["This field is required."],"username":["This field is required."]}`)
	try("a list", `[{"username":"admin"}]`, 400, fieldError("non_field_errors", "Invalid data. Expected a dictionary, but got list."))
	attacks = append(attacks,
		attack{name: "by GET", path: attackedLogin + "?username=admin&password=" + guess, token: noToken, status: 405, want: methodNotAllowed("GET")},
		attack{name: "as a form", path: attackedLogin, token: noToken, body: "username=admin&password=" + guess,
			header: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, want: unsupportedMedia("application/x-www-form-urlencoded")})
	h.run(t, attacks)
	h.guess(t, guess)
}

// guess sends wrong passwords for one user. The correct password is still accepted, after a delay.
func (h *hostile) guess(t *testing.T, guess string) {
	victim := h.person(h.hospital)
	h.snapshot()
	var attacks []attack
	for i := range 6 {
		attacks = append(attacks, attack{name: fmt.Sprint("guess ", i), path: attackedLogin, token: noToken, body: fields{"username": victim.username, "password": guess}, status: 401, want: bodyNoLogin})
	}
	attacks = append(attacks,
		attack{name: "the owner", path: attackedLogin, token: noToken, body: fields{"username": victim.username, "password": password}, status: 200, want: `{"access":…`},
		attack{name: "guess the old password", method: http.MethodPost, path: "/api/auth/users/change_password/", token: victim.access, body: fields{"old_password": guess, "new_password": "Another-guess-4711!", "new_password_confirm": "Another-guess-4711!"},
			status: 400, want: fieldError("old_password", "Your old password was entered incorrectly. Please enter it again.")})
	h.run(t, attacks)
}

// TestHostileKeys sends invalid API keys, and valid ones where they do not authorize.
func TestHostileKeys(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	key, off := h.apiKey("his", h.hospital, true), h.apiKey("his", h.hospital, false)
	event := func(source string) fields {
		return fields{"source_system": source, "event_code": "CHECKED_IN", "encounter_id": "E-1"}
	}
	with := func(name, key, path string, body any, status int, want string, more ...string) attack {
		return attack{name: name, path: path, token: noToken, body: body, header: append([]string{"X-API-Key", key}, more...), status: status, want: want}
	}
	notMine := fieldError("source_system", `This API key is for the source system "his".`)
	stored := value[string](h.system, "SELECT encode(api_key_hash, 'hex') FROM integration_configs WHERE is_active")
	attacks := []attack{
		with("unknown", "px360_"+strings.Repeat("0", 64), attackedEvents, event("his"), 401, bodyBadKey),
		with("inactive config", off, attackedEvents, event("his"), 401, bodyBadKey),
		with("one letter", "x", attackedEvents, event("his"), 401, bodyBadKey),
		with("one character short", key[:len(key)-1], attackedEvents, event("his"), 401, bodyBadKey),
		with("upper case", strings.ToUpper(key), attackedEvents, event("his"), 401, bodyBadKey),
		with("its hash", stored, attackedEvents, event("his"), 401, bodyBadKey),
		with("too long", key+strings.Repeat("0", 20<<10), attackedEvents, event("his"), 401, bodyBadKey),
		with("not ASCII", "ключ-é", attackedEvents, event("his"), 401, bodyBadKey),
		with("not UTF-8", "\xff\xfe", attackedEvents, event("his"), 401, bodyBadKey),
		with("SQL", "' OR 1=1 --", attackedEvents, event("his"), 401, bodyBadKey),
		with("a token", h.px.access, attackedEvents, event("his"), 401, bodyBadKey),
		with("empty", "", attackedEvents, event("his"), 401, bodyNoCredentials),
		with("as a bearer", "", attackedEvents, event("his"), 401, bodyTokenInvalid, "Authorization", "Bearer "+key),
		with("beside a bad token", key, attackedEvents, event("his"), 401, bodyTokenInvalid, "Authorization", "Bearer x.y.z"),
		with("beside another scheme", key, attackedEvents, event("his"), 401, bodyNoCredentials, "Authorization", "Basic eDp5"),
		with("to list what others sent", key, attackedEvents+"?source_system=lab", nil, 200, `{"count":0,"next":null,"previous":null,"results":[]}`),
		with("to retrieve", key, attackedEvents+wireUnknownID+"/", nil, 404, bodyNotFound),
		with("to reprocess", key, attackedEvents+wireUnknownID+"/reprocess/", "", 403, bodyForbidden),
		with("for users", key, "/api/auth/users/", nil, 401, bodyNoCredentials),
		with("for configs", key, "/api/integrations/configs/", nil, 401, bodyNoCredentials),
		with("for patients", key, "/api/organizations/patients/", nil, 401, bodyNoCredentials),
		with("for me", key, attackedMe, nil, 401, bodyNoCredentials),
		with("another source", key, attackedEvents, event("lab"), 400, notMine),
		with("another source in case", key, attackedEvents, event("HIS"), 400, notMine),
		with("another source in bulk", key, attackedBulk, fields{"events": []fields{event("lab")}}, 400, `{"created":0,"duplicates":0,"errors":[{"errors":`+notMine+`,"index":0}],"failed":1,"warnings":[]}`),
		with("a hospital in the body", key, attackedEvents, fields{"hospital": wireUnknownID, "source_system": "lab", "event_code": "x", "encounter_id": "y"}, 400, notMine),
		{name: "in the query", path: attackedEvents + "?api_key=" + key, token: noToken, body: event("his"), status: 401, want: bodyNoCredentials},
		{name: "twice", raw: "POST " + attackedEvents + " HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 0\r\nX-API-Key: " + key + "\r\nX-API-Key: " + off + "\r\n\r\n", status: 401, want: bodyBadKey},
		{name: "unknown, beside a token", path: attackedEvents, body: event("his"), header: []string{"X-API-Key", "x"}, status: 201, want: `{"id":…`},
		with("good", key, attackedEvents, event("his"), 201, `{"id":…`),
	}
	h.run(t, attacks)
}

// TestHostileScope tries to access objects of another hospital.
func TestHostileScope(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	other := h.system.clinic()
	theirs := map[string]uuid.UUID{
		"departments": other.Department("D"), "physicians": other.Physician("L"), "patients": other.Patient("M"), "hospitals": other.hospital,
	}
	survey, template := other.Survey(), other.Template(nil)
	ours := h.Template(nil)
	department := h.Department("D")
	h.snapshot()
	foreign := func(id uuid.UUID) string { return fmt.Sprintf(`Invalid pk "%s" - object does not exist.`, id) }
	var attacks []attack
	try := func(name, method, path string, body any, status int, want string) {
		attacks = append(attacks, attack{name: name, method: method, path: path, token: h.admin.access, body: body, status: status, want: want})
	}
	for noun, id := range theirs {
		path := "/api/organizations/" + noun + "/" + id.String() + "/"
		try("read "+noun, http.MethodGet, path, nil, 404, bodyNotFound)
		try("change "+noun, http.MethodPatch, path, fields{"name": "Mine"}, 404, bodyNotFound)
		try("change "+noun+" badly", http.MethodPatch, path, "{", 404, bodyNotFound)
		if noun == "hospitals" {
			try("delete "+noun, http.MethodDelete, path, nil, 403, bodyForbidden)
		} else {
			try("delete "+noun, http.MethodDelete, path, nil, 404, bodyNotFound)
		}
	}
	users := "/api/auth/users/" + other.admin.id.String() + "/"
	try("read user", http.MethodGet, users, nil, 404, bodyNotFound)
	try("set their password", http.MethodPatch, users, fields{"password": "x"}, 404, bodyNotFound)
	try("take a role", http.MethodPost, users+"remove_role/", fields{"role_id": h.role("Hospital Admin")}, 404, bodyNotFound)
	try("become PX Admin", http.MethodPost, "/api/auth/users/"+h.admin.id.String()+"/assign_role/", fields{"role_id": h.role("PX Admin")}, 403, bodyForbidden)
	try("become PX Admin by profile", http.MethodPatch, "/api/auth/users/update_profile/", fields{"roles": []string{"PX Admin"}, "is_superuser": true}, 200, `{"id":…`)
	try("move to their hospital", http.MethodPatch, "/api/auth/users/"+h.admin.id.String()+"/", fields{"hospital": other.hospital}, 400, fieldError("hospital", foreign(other.hospital)))
	try("their hospital", "", "/api/organizations/departments/", fields{"hospital": other.hospital, "name": "D", "code": "D2"}, 400, fieldError("hospital", foreign(other.hospital)))
	try("their parent", "", "/api/organizations/departments/", fields{"hospital": h.hospital, "parent": theirs["departments"], "name": "D", "code": "D3"}, 400, fieldError("parent", foreign(theirs["departments"])))
	try("their parent, moved", http.MethodPatch, "/api/organizations/departments/"+department.String()+"/", fields{"parent": theirs["departments"]}, 400, fieldError("parent", foreign(theirs["departments"])))
	try("their manager", http.MethodPatch, "/api/organizations/departments/"+department.String()+"/", fields{"manager": other.admin.id}, 400, fieldError("manager", foreign(other.admin.id)))
	try("their patient", "", "/api/journeys/instances/", fields{"hospital": h.hospital, "journey_template": ours, "patient": theirs["patients"], "encounter_id": "E"}, 400, fieldError("patient", foreign(theirs["patients"])))
	try("their template", "", "/api/journeys/stage-templates/", fields{"hospital": h.hospital, "journey_template": template, "name": "S", "code": "S", "order": 1, "trigger_event_code": "E", "survey_template": survey}, 400,
		jsonText(fields{"journey_template": []string{foreign(template)}, "survey_template": []string{foreign(survey)}}))
	const noChoice = "Select a valid choice. That choice is not one of the available choices."
	try("filter by their hospital", "", "/api/organizations/patients/?primary_hospital="+other.hospital.String(), nil, 400, fieldError("primary_hospital", noChoice))
	try("filter by their department", "", "/api/organizations/physicians/?department="+theirs["departments"].String(), nil, 400, fieldError("department", noChoice))
	try("filter by their template", "", "/api/journeys/instances/?journey_template="+template.String(), nil, 400, fieldError("journey_template", noChoice))
	try("search for theirs", "", "/api/organizations/patients/?search=MRN", nil, 200, `{"count":0,"next":null,"previous":null,"results":[]}`)
	try("events", "", attackedEvents, nil, 403, bodyForbidden)
	try("configs", "", "/api/integrations/configs/", nil, 403, bodyForbidden)
	h.run(t, attacks)
}
