package client

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func answer(status int, body string, header ...string) *http.Response {
	response := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i < len(header); i += 2 {
		response.Header.Set(header[i], header[i+1])
	}
	return response
}

// refusalOf is the error of a POST that is answered so.
func refusalOf(status int, body string, header ...string) *Error {
	r := &call{method: http.MethodPost, url: &url.URL{Scheme: "http", Host: "px360.test", Path: "/api/organizations/patients/"}}
	return r.refused(received{Answer{status, answer(status, "", header...).Header}, []byte(body)}, time.Now())
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	const where = "POST http://px360.test/api/organizations/patients/: "
	for name, test := range map[string]struct {
		status int
		body   string
		header []string
		want   string
	}{
		"fields": {
			400, `{"mrn": ["patient with this mrn already exists."], "first_name": ["This field is required.", "Really."]}`, nil,
			where + "400 Bad Request: first_name: This field is required. Really.: mrn: patient with this mrn already exists.",
		},
		"whole object": {
			400, `{"non_field_errors": ["The fields hospital, code must make a unique set."]}`, nil,
			where + "400 Bad Request: The fields hospital, code must make a unique set.",
		},
		"nested": {
			400, `{"events": [{}, {"event_code": ["This field may not be blank."]}]}`, nil,
			where + "400 Bad Request: events.1.event_code: This field may not be blank.",
		},
		"detail": {
			409, `{"detail": "This is the last active PX Admin."}`, []string{"X-Request-ID", "0193c5a0"},
			where + "409 Conflict: This is the last active PX Admin. (request 0193c5a0)",
		},
		"a proxy's page": {502, `<html>Bad Gateway</html>`, nil, where + "502 Bad Gateway (it may have been done)"},
		"redirect": {
			301, ``, []string{"Location", "https://px360.test/api/"},
			where + "301 Moved Permanently: the server redirects to https://px360.test/api/: use that address as the base URL",
		},
	} {
		err := refusalOf(test.status, test.body, test.header...)
		if err.Error() != test.want {
			t.Errorf("%s:\n got %v\nwant %s", name, err, test.want)
		}
	}
}

func TestErrorMembers(t *testing.T) {
	t.Parallel()
	body := `{"detail": "Given token not valid for any token type", "code": "token_not_valid", "messages": [{"a": "b"}]}`
	failure := refusalOf(401, body, "Retry-After", "37", "WWW-Authenticate", "Bearer")
	if failure.Status != 401 || failure.Code != "token_not_valid" || failure.RetryAfter != 37*time.Second || failure.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("got %+v", failure)
	}
	if len(failure.Fields) != 0 {
		t.Errorf("a detail is not about fields: %v", failure.Fields)
	}
}

func TestErrorField(t *testing.T) {
	t.Parallel()
	failure := refusalOf(400, `{"gender": ["\"x\" is not a valid choice.", "Really."], "a": {"b": ["No."]}}`)
	for field, want := range map[string]string{"gender": `"x" is not a valid choice. Really.`, "a.b": "No.", "mrn": ""} {
		if got := failure.Field(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
}

// Only a refusal, and a busy server that says when to come back, tell that nothing was done.
func TestMaybeDone(t *testing.T) {
	t.Parallel()
	const unknown = `{"detail": "Look.", "code": "outcome_unknown"}`
	for name, test := range map[string]struct {
		failure *Error
		want    bool
	}{
		"400":                     {refusalOf(400, ""), false},
		"429":                     {refusalOf(429, ""), false},
		"503 with Retry-After":    {refusalOf(503, "", "Retry-After", "1"), false},
		"503 of unknown outcome":  {refusalOf(503, unknown, "Retry-After", "1"), true},
		"503 without Retry-After": {refusalOf(503, ""), true},
		"500":                     {refusalOf(500, ""), true},
		"504":                     {refusalOf(504, ""), true},
	} {
		if test.failure.MaybeDone != test.want {
			t.Errorf("%s: %v", name, test.failure.MaybeDone)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2025, 12, 14, 9, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"":                              0,
		"90":                            90 * time.Second,
		"-5":                            0,
		"soon":                          0,
		"Sun, 14 Dec 2025 09:02:00 GMT": 2 * time.Minute,
		"Sun, 14 Dec 2025 08:00:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("Retry-After %q is %v, want %v", text, got, want)
		}
	}
}
