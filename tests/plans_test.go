package tests

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/px360/px360/server"
)

// Making a plan takes longer than to read the row of an id by it. Which statements keep theirs is for
// Postgres to decide, which compares what it expects of either, so that a harmless change of a query can
// make it plan at each call.
func TestPlansAreKept(t *testing.T) {
	t.Parallel()
	c := startServer(t, limited(server.Limits{User: perHour(10_000), Events: perHour(10_000)})).clinic()
	template := c.Template(nil)
	visit := c.journey(template, "ENC-1")
	configID, key := c.plainKey(c.px, "his")
	paths := map[string]uuid.UUID{
		"auth/users": c.admin.id, "auth/roles": c.role("Nurse"),
		"organizations/hospitals": c.hospital, "organizations/departments": c.Department("LAB"),
		"organizations/physicians": c.Physician("PHY"), "organizations/patients": c.Patient("MRN-2"),
		"journeys/templates": template, "journeys/instances": visit.id, "journeys/stage-instances": uuid.MustParse(visit.stages()[0]["id"].(string)),
		"surveys/templates": c.Survey(), "integrations/configs": uuid.MustParse(configID),
	}
	for range 30 {
		for _, token := range []string{c.px, c.admin.access} {
			c.expect(t, 200, "GET", ownPath, token, nil)
			c.expect(t, 200, "GET", visit.path()+"progress/", token, nil)
			c.expect(t, 201, "POST", oneEventPath, token, sourceEvent("his"))
		}
		c.expect(t, 201, "POST", oneEventPath, "", sourceEvent("his"), "X-API-Key", key)
		for path, id := range paths {
			c.expect(t, 200, "GET", "/api/"+path+"/"+id.String()+"/", c.px, nil)
		}
	}
	kept := 0
	for _, conn := range c.db.AcquireAllIdle(context.Background()) {
		rows, err := conn.Query(context.Background(), "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements WHERE generic_plans + custom_plans > 8")
		must(t, err)
		for rows.Next() {
			var statement string
			var generic, custom int
			must(t, rows.Scan(&statement, &generic, &custom))
			if custom > 6 { // five are for comparison
				name, _, _ := strings.Cut(statement, "\n")
				t.Errorf("%s: planned %d times, its plan was kept %d times", name, custom, generic)
			}
			kept++
		}
		must(t, rows.Err())
		conn.Release()
	}
	if kept < 15 {
		t.Errorf("only %d statements were used more than 8 times", kept)
	}
}
