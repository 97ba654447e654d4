package tests

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/server"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/limits"
)

// A message id belongs to the kind of its sender: what any user sent under it, before or after, changes nothing about the
// event of the source system's key.
func TestMessageIDsOfUsersAndKeys(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	body := client.IntegrationConfigCreate{Name: "HIS", SourceSystem: "his", Hospital: client.Value(c.hospital)}
	key := c.client(client.WithAPIKey(try(c.px.CreateIntegrationConfig(t.Context(), body)).ok(t).APIKey))
	ctx := t.Context()

	false1 := try(c.admin.CreateEvent(ctx, eventOf("false", withSourceID("MSG-1")))).ok(t)
	true1 := try(key.CreateEvent(ctx, eventOf("true", withSourceID("MSG-1")))).ok(t)
	if true1.Duplicate || true1.ID == false1.ID {
		t.Errorf("the key's event is %s, the user's %s", jsonText(true1), jsonText(false1))
	}
	for name, sent := range map[string]struct {
		by   *client.Client
		with string
		want *client.StoredEvent
	}{"user": {c.admin.Client, "false", false1}, "key": {key, "true", true1}} {
		if again := try(sent.by.CreateEvent(ctx, eventOf(sent.with, withSourceID("MSG-1")))).ok(t); !again.Duplicate || again.ID != sent.want.ID {
			t.Errorf("sent again by the %s: %s", name, jsonText(again))
		}
		try(sent.by.CreateEvent(ctx, eventOf("other", withSourceID("MSG-1")))).refused(t, http.StatusConflict)
	}
	bulk := client.EventBulkCreate{Events: []client.EventCreate{eventOf("false", withSourceID("MSG-1")), eventOf("true", withSourceID("MSG-2"))}}
	for name, by := range map[string]*client.Client{"user": c.admin.Client, "key": key} {
		result := try(by.BulkCreateEvents(ctx, bulk)).ok(t)
		if wrong := name == "key"; result.Created != 1 || result.Duplicates != map[bool]int32{false: 1}[wrong] || result.Failed != map[bool]int32{true: 1}[wrong] {
			t.Errorf("a bulk by the %s: %s", name, jsonText(result))
		}
	}
}

// With PX360_EVENT_SENDERS=staff, only keys and those who administer or coordinate send events, and who is refused uses up
// no limit.
func TestEventSenders(t *testing.T) {
	t.Parallel()
	staff := func(o *server.Options) {
		withLimits(limits.Limits{Events: perHour(4)})(o)
		o.EventSenders = auth.EventSendersStaff
	}
	c := startServer(t, staff).clinic()
	body := client.IntegrationConfigCreate{Name: "HIS", SourceSystem: "his", Hospital: client.Value(c.hospital)}
	key := try(c.px.CreateIntegrationConfig(context.Background(), body)).ok(t).APIKey
	nurse, coordinator := c.person(c.hospital, auth.RoleNurse), c.person(c.hospital, auth.RolePXCoordinator)
	for range 9 {
		c.expect(t, http.StatusForbidden, "POST", oneEventPath, nurse.access, sourceEvent("his"))
		c.expect(t, http.StatusForbidden, "POST", manyEventsPath, nurse.access, sourceBulk("his"))
	}
	c.expect(t, http.StatusCreated, "POST", oneEventPath, coordinator.access, sourceEvent("his"))
	c.expect(t, http.StatusCreated, "POST", manyEventsPath, c.admin.access, sourceBulk("his"))
	c.expect(t, http.StatusCreated, "POST", oneEventPath, c.px.access, sourceEvent("his"))
	wantLeft(t, c.send("POST", oneEventPath, "", sourceEvent("his"), "X-API-Key", key), "events", 1, time.Hour)
	if page := c.send("GET", "/api/schema/?format=json", "", nil).body; !strings.Contains(page, "Permission: `events.send` — PX Admin, Hospital Admin, PX Coordinator, API keys.") {
		t.Error("the documentation does not say who may send events")
	}
}
