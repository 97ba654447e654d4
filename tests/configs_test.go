package tests

import (
	"strings"
	"testing"

	"github.com/px360/px360/server"
)

const configPath = "/api/integrations/configs/"

func TestAPIKeyIsShownOnce(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	made := c.expect(t, 201, "POST", configPath, c.px, fields{
		"name": "His", "source_system": "his", "hospital": c.hospital, "api_url": "https://his.example.org/api", "config_json": fields{"version": 2},
	})
	key, _ := made.json()["api_key"].(string)
	if len(key) < 32 {
		t.Fatalf("the key is %q: %s", key, made.body)
	}
	path := configPath + made.json()["id"].(string) + "/"
	for _, a := range []answer{
		c.expect(t, 200, "GET", path, c.px, nil),
		c.expect(t, 200, "GET", configPath, c.px, nil),
		c.expect(t, 200, "PATCH", path, c.px, fields{"description": "main"}),
	} {
		if strings.Contains(a.body, key) || strings.Contains(a.body, "api_key") {
			t.Errorf("the key is shown again: %s", a.body)
		}
	}
	// The key is stored in no other place either.
	for _, table := range []string{"integration_configs", "audit_log"} {
		if found := value[int](c.system, "SELECT count(*) FROM "+table+" t WHERE t::text LIKE '%' || $1 || '%' OR t::text LIKE '%' || encode($1::bytea, 'hex') || '%'", key); found > 0 {
			t.Errorf("%s has the key in %d rows", table, found)
		}
	}
	if strings.Contains(c.log.String(), key) {
		t.Error("the log has the key")
	}
	send := func(want int, key string) {
		t.Helper()
		a := c.expect(t, want, "POST", eventPath, "", eventOf("1", nil), "X-API-Key", key)
		if want == 401 && (a.json()["detail"] != "Invalid API key." || a.header.Get("WWW-Authenticate") == "") {
			t.Errorf("an invalid key is answered with %s", a.body)
		}
	}
	send(201, key)
	rotated := c.expect(t, 200, "POST", path+"rotate_key/", c.px, nil).json()["api_key"].(string)
	send(401, key)
	send(201, rotated)
	c.expect(t, 200, "PATCH", path, c.px, fields{"is_active": false})
	send(401, rotated)
	c.expect(t, 200, "PATCH", path, c.px, fields{"is_active": true})
	send(201, rotated)
	c.expect(t, 204, "DELETE", path, c.px, nil)
	send(401, rotated)
}

func TestChosenAPIKey(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	const own, next = "a key that the hospital made itself", "another key that the hospital made"
	body := fields{"name": "His", "source_system": "his", "api_key": own}
	made := c.expect(t, 201, "POST", configPath, c.px, body)
	if strings.Contains(made.body, own) {
		t.Errorf("the hospital's own key is shown: %s", made.body)
	}
	if made.json()["hospital"] != nil {
		t.Errorf("a config for all hospitals belongs to %v", made.json()["hospital"])
	}
	// Several configs may have the same source system, but API keys are unique.
	if a := c.expect(t, 400, "POST", configPath, c.px, body); a.json()["api_key"] == nil {
		t.Errorf("a key twice: %s", a.body)
	}
	delete(body, "api_key")
	c.expect(t, 201, "POST", configPath, c.px, body)
	path := configPath + made.json()["id"].(string) + "/"
	key := func(want int, key string) {
		t.Helper()
		c.expect(t, want, "POST", eventPath, "", eventOf("1", nil), "X-API-Key", key)
	}
	c.expect(t, 200, "PATCH", path, c.px, fields{"name": "Other"}) // does not change the key
	key(201, own)
	c.expect(t, 200, "PATCH", path, c.px, fields{"api_key": next})
	key(401, own)
	key(201, next)
	c.expect(t, 200, "PUT", path, c.px, fields{"name": "Other", "source_system": "lab"})
	key(400, next) // another config has it now
	for _, bad := range []fields{
		{"name": "His"}, {"source_system": "his"}, {"name": "His", "source_system": "h i s"}, {"name": "His", "source_system": "his", "api_url": "no url"},
	} {
		c.expect(t, 400, "POST", configPath, c.px, bad)
	}
}

// The uniqueness of API keys covers hashes with the previous secret.
func TestAPIKeyIsUniqueAcrossSecrets(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	const own = "a key that the hospital made itself"
	first := c.create(c.px, configPath, fields{"name": "His", "source_system": "his", "api_key": own}).String() + "/"
	s := c.secondServer(func(o *server.Options) {
		o.SecretKey, o.SecretKeyPrevious = "the next signing key, of no use either", signingKey
	})
	second := s.create(c.px, configPath, fields{"name": "Lab", "source_system": "lab"}).String() + "/"
	const wantBody = `{"api_key":["integration config with this api key already exists."]}`
	for _, a := range []answer{
		s.expect(t, 400, "POST", configPath, c.px, fields{"name": "Lab", "source_system": "lab", "api_key": own}),
		s.expect(t, 400, "PATCH", configPath+second, c.px, fields{"api_key": own}),
		c.expect(t, 400, "PATCH", configPath+second, c.px, fields{"api_key": own}), // hashed with the current secret
	} {
		if a.body != wantBody {
			t.Errorf("a key twice: %s", a.body)
		}
	}
	// The same config may be given its own key again, which rehashes it.
	s.expect(t, 200, "PATCH", configPath+first, c.px, fields{"api_key": own})
	s.expect(t, 201, "POST", eventPath, "", eventOf("1", nil), "X-API-Key", own)
}

func TestAPIKeyMinimumLength(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	body := func(key any) fields { return fields{"name": "His", "source_system": "his", "api_key": key} }
	path := configPath + c.create(c.px, configPath, body("a key to be replaced")).String() + "/"
	for _, short := range []string{"1", "fourteen chars", "  fourteen chars  ", strings.Repeat("ض", 14)} {
		for _, a := range []answer{
			c.expect(t, 400, "POST", configPath, c.px, body(short)), c.expect(t, 400, "PATCH", path, c.px, fields{"api_key": short}),
		} {
			if a.body != `{"api_key":["Ensure this field has at least 15 characters."]}` {
				t.Errorf("the key %q: %s", short, a.body)
			}
		}
	}
	// A blank key counts as omitted.
	if key, _ := c.expect(t, 201, "POST", configPath, c.px, body("")).json()["api_key"].(string); len(key) < 32 {
		t.Errorf("the key is %q", key)
	}
	c.expect(t, 200, "PATCH", path, c.px, fields{"api_key": " "})
	c.expect(t, 201, "POST", configPath, c.px, body(strings.Repeat("ض", 15)))
	c.expect(t, 200, "PATCH", path, c.px, fields{"api_key": "fifteen letters"})
	c.expect(t, 201, "POST", eventPath, "", eventOf("1", nil), "X-API-Key", "fifteen letters")
}
