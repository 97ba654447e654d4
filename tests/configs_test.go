package tests

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/server"
)

const configPath = "/api/integrations/configs/"

// sendsWith sends an event by the API key.
func (s *system) sendsWith(key string) reply[client.StoredEvent] {
	s.t.Helper()
	return try(s.client(client.WithAPIKey(key)).CreateEvent(context.Background(), eventOf("1")))
}

func TestAPIKeyIsShownOnce(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := t.Context()
	made := try(c.px.CreateIntegrationConfig(ctx, client.IntegrationConfigCreate{
		Name: "His", SourceSystem: "his", Hospital: client.Value(c.hospital), APIURL: client.Ptr("https://his.example.org/api"),
		ConfigJSON: json.RawMessage(`{"version": 2}`),
	})).ok(t)
	key := made.APIKey
	if len(key) < 32 {
		t.Fatalf("the key is %q", key)
	}
	path := configPath + made.ID.String() + "/"
	for _, a := range []answer{
		c.expect(t, 200, "GET", path, c.px.access, nil),
		c.expect(t, 200, "GET", configPath, c.px.access, nil),
		c.expect(t, 200, "PATCH", path, c.px.access, fields{"description": "main"}),
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
	expectInvalid := func(key string) {
		t.Helper()
		if e := c.sendsWith(key).refused(t, 401); e.Detail != "Invalid API key." || e.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("an invalid key is answered with %v", e)
		}
	}
	c.sendsWith(key).ok(t)
	rotated := try(c.px.RotateIntegrationConfigKey(ctx, made.ID)).ok(t).APIKey
	expectInvalid(key)
	c.sendsWith(rotated).ok(t)
	try(c.px.UpdateIntegrationConfig(ctx, made.ID, client.IntegrationConfigUpdate{IsActive: client.Ptr(false)})).ok(t)
	expectInvalid(rotated)
	try(c.px.UpdateIntegrationConfig(ctx, made.ID, client.IntegrationConfigUpdate{IsActive: client.Ptr(true)})).ok(t)
	c.sendsWith(rotated).ok(t)
	must(t, c.px.DeleteIntegrationConfig(ctx, made.ID))
	expectInvalid(rotated)
}

func TestChosenAPIKey(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := t.Context()
	own, next := "a key that the hospital made itself", "another key that the hospital made"
	body := client.IntegrationConfigCreate{Name: "His", SourceSystem: "his", APIKey: &own}
	made := try(c.px.CreateIntegrationConfig(ctx, body)).ok(t)
	if made.APIKey != "" || strings.Contains(jsonText(made), own) {
		t.Errorf("the hospital's own key is shown: %s", jsonText(made))
	}
	if made.Hospital != nil {
		t.Errorf("a config for all hospitals belongs to %v", made.Hospital)
	}
	// Several configs may have the same source system, but API keys are unique.
	try(c.px.CreateIntegrationConfig(ctx, body)).refused(t, 400, "api_key")
	body.APIKey = nil
	try(c.px.CreateIntegrationConfig(ctx, body)).ok(t)
	change := func(change client.IntegrationConfigUpdate) {
		t.Helper()
		try(c.px.UpdateIntegrationConfig(ctx, made.ID, change)).ok(t)
	}
	change(client.IntegrationConfigUpdate{Name: client.Ptr("Other")}) // does not change the key
	c.sendsWith(own).ok(t)
	change(client.IntegrationConfigUpdate{APIKey: &next})
	c.sendsWith(own).refused(t, 401)
	c.sendsWith(next).ok(t)
	try(c.px.ReplaceIntegrationConfig(ctx, made.ID, client.IntegrationConfigCreate{Name: "Other", SourceSystem: "lab"})).ok(t)
	c.sendsWith(next).refused(t, 400) // it is for another source system now
	for _, bad := range []fields{
		{"name": "His"}, {"source_system": "his"}, {"name": "His", "source_system": "h i s"}, {"name": "His", "source_system": "his", "api_url": "no url"},
	} {
		c.expect(t, 400, "POST", configPath, c.px.access, bad)
	}
}

// The uniqueness of API keys covers hashes with the previous secret.
func TestAPIKeyIsUniqueAcrossSecrets(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := t.Context()
	own := "a key that the hospital made itself"
	first := try(c.px.CreateIntegrationConfig(ctx, client.IntegrationConfigCreate{Name: "His", SourceSystem: "his", APIKey: &own})).ok(t).ID
	s := c.secondServer(func(o *server.Options) {
		o.SecretKey, o.SecretKeyPrevious = "the next signing key, of no use either", signingKey
	})
	px := s.as(c.px.access)
	second := try(px.CreateIntegrationConfig(ctx, client.IntegrationConfigCreate{Name: "Lab", SourceSystem: "lab"})).ok(t).ID
	const message = "integration config with this api key already exists."
	change := client.IntegrationConfigUpdate{APIKey: &own}
	try(px.CreateIntegrationConfig(ctx, client.IntegrationConfigCreate{Name: "Lab", SourceSystem: "lab", APIKey: &own})).refusedField(t, "api_key", message)
	try(px.UpdateIntegrationConfig(ctx, second, change)).refusedField(t, "api_key", message)
	try(c.px.UpdateIntegrationConfig(ctx, second, change)).refusedField(t, "api_key", message) // hashed with the current secret
	// The same config may be given its own key again, which rehashes it.
	try(px.UpdateIntegrationConfig(ctx, first, change)).ok(t)
	s.sendsWith(own).ok(t)
}

func TestAPIKeyMinimumLength(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	create := func(key string) reply[client.IntegrationConfigCreated] {
		return try(c.px.CreateIntegrationConfig(t.Context(), client.IntegrationConfigCreate{Name: "His", SourceSystem: "his", APIKey: &key}))
	}
	config := create("a key to be replaced").ok(t).ID
	change := func(key string) reply[client.IntegrationConfig] {
		return try(c.px.UpdateIntegrationConfig(t.Context(), config, client.IntegrationConfigUpdate{APIKey: &key}))
	}
	for _, short := range []string{"1", "fourteen chars", "  fourteen chars  ", strings.Repeat("ض", 14)} {
		create(short).refusedField(t, "api_key", "Ensure this field has at least 15 characters.")
		change(short).refusedField(t, "api_key", "Ensure this field has at least 15 characters.")
	}
	// A blank key counts as omitted.
	if key := create("").ok(t).APIKey; len(key) < 32 {
		t.Errorf("the key is %q", key)
	}
	change(" ").ok(t)
	create(strings.Repeat("ض", 15)).ok(t)
	change("fifteen letters").ok(t)
	c.sendsWith("fifteen letters").ok(t)
}
