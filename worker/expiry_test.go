package worker

import (
	"slices"
	"testing"
	"time"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/tests/dbtest"
)

// One pass deletes what has expired, more than one batch of it, and keeps the rest.
func TestDeleteExpired(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		insert []string // rows that are to stay are named after why
		left   string   // their names
		want   []string
	}{
		{
			"idempotency keys", []string{
				`INSERT INTO idempotency_keys (principal_id, operation, key, body_hash, status, answer, created_at)
					SELECT uuid7(), 'o', 'expired', '', 201, '{}', now() - interval '24 hours 1 second' FROM generate_series(1, 5001)`,
				`INSERT INTO idempotency_keys (principal_id, operation, key, body_hash, status, answer, created_at)
					VALUES (uuid7(), 'o', 'almost', '', 201, '{}', now() - interval '23 hours'), (uuid7(), 'o', 'new', '', 201, '{}', now())`,
			}, `SELECT key FROM idempotency_keys ORDER BY 1`, []string{"almost", "new"},
		},
		{
			"used refresh tokens", []string{
				`INSERT INTO used_refresh_tokens (token_id, used_by, expires_at)
					SELECT i, uuid7(), now() - interval '1 hour 1 second' FROM generate_series(1, 5001) i`,
				`INSERT INTO used_refresh_tokens (token_id, used_by, expires_at)
					VALUES ('just expired', uuid7(), now() - interval '50 minutes'), ('valid', uuid7(), now() + interval '1 day')`,
			}, `SELECT token_id FROM used_refresh_tokens ORDER BY 1`, []string{"just expired", "valid"},
		},
		{
			"idle rate limits", []string{
				`INSERT INTO rate_limits (key, expires_at) SELECT i, now() - interval '1 second' FROM generate_series(1, 5001) i`,
				`INSERT INTO rate_limits (key, expires_at) VALUES ('in use', now() + interval '1 hour')`,
				`INSERT INTO rate_limit_blocks (key, number, calls) VALUES ('1', 0, '{}'), ('1', 1, '{}'), ('in use', 0, '{}')`,
			}, `SELECT key FROM rate_limits UNION ALL SELECT key || ', block' FROM rate_limit_blocks ORDER BY 1`, []string{"in use", "in use, block"},
		},
		{
			"webhook events, and their messages", []string{
				`INSERT INTO webhook_events (type, object_id, version, created_at)
					SELECT 'expired', uuid7(), 1, now() - interval '30 days 1 second' FROM generate_series(1, 5001)`,
				`INSERT INTO webhook_events (type, object_id, version, created_at) VALUES ('almost', uuid7(), 1, now() - interval '29 days'), ('new', uuid7(), 1, now())`,
				`INSERT INTO webhook_messages (id, endpoint_id, seq, object_id, type) SELECT uuid7(), e.id, v.seq, v.object_id, v.type
					FROM webhook_events v, (VALUES (uuid7()), (uuid7())) AS e (id)`,
			}, `SELECT type FROM webhook_events UNION ALL SELECT type || ', message' FROM webhook_messages ORDER BY 1`,
			[]string{"almost", "almost, message", "almost, message", "new", "new, message", "new, message"},
		},
		{
			"finished events", []string{
				`INSERT INTO events (id, source_system, event_code, encounter_id, sender_kind, sender_id, status, received_at, processed_at)
					SELECT uuid7(), 's', 'expired', 'e', 'user', uuid7(), (ARRAY['processed', 'failed', 'ignored'])[1 + i % 3], now() - interval '48 hours 1 second', now()
					FROM generate_series(1, 5001) i`,
				`INSERT INTO events (id, source_system, event_code, encounter_id, sender_kind, sender_id, status, received_at, processed_at)
					VALUES (uuid7(), 's', 'almost', 'e', 'user', uuid7(), 'processed', now() - interval '47 hours', now()),
						(uuid7(), 's', 'pending', 'e', 'user', uuid7(), 'pending', now() - interval '49 hours', NULL)`,
			}, `SELECT event_code FROM events ORDER BY 1`, []string{"almost", "pending"},
		},
		{
			"audit entries", []string{
				`INSERT INTO audit_log (actor_kind, operation, object_type, object_id, at)
					SELECT 'command', 'expired', 'user', uuid7(), now() - interval '72 hours 1 second' FROM generate_series(1, 5001)`,
				`INSERT INTO audit_log (actor_kind, operation, object_type, object_id, at) VALUES ('command', 'almost', 'user', uuid7(), now() - interval '71 hours')`,
			}, `SELECT operation FROM audit_log ORDER BY 1`, []string{"almost"},
		},
		{
			"emails to users", []string{
				`INSERT INTO users (id, username, email, password) VALUES ('0193c5a0-7a00-7000-8000-000000000003', 'u', 'u@example.org', '!')`,
				`INSERT INTO user_messages (id, user_id, kind, object_id, subject, text, created_at)
					SELECT uuid7(), '0193c5a0-7a00-7000-8000-000000000003', 'reminder', uuid7(), s.subject, '', now() - s.age
					FROM (VALUES ('expired', interval '31 days'), ('almost', interval '29 days'), ('new', interval '0 days')) AS s (subject, age)`,
			}, `SELECT subject FROM user_messages ORDER BY 1`, []string{"almost", "new"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			database, err := queries.Open(t.Context(), dbtest.New(t), queries.DefaultOptions())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(database.Close)
			for _, sql := range test.insert {
				if _, err := database.Pool.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			o := DefaultOptions()
			o.EventRetention, o.AuditRetention = 48*time.Hour, 72*time.Hour
			New(database, o).deleteExpired(t.Context())
			var left []string
			rows, err := database.Pool.Query(t.Context(), test.left)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var name string
				if err := rows.Scan(&name); err != nil {
					t.Fatal(err)
				}
				left = append(left, name)
			}
			if rows.Err() != nil || !slices.Equal(left, test.want) {
				t.Errorf("%d rows are left, the first are %q, want %q; error %v", len(left), left[:min(3, len(left))], test.want, rows.Err())
			}
		})
	}
}

// One table that cannot be cleaned up does not keep the others from it.
func TestDeleteExpiredGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	f := newFixture(t, simple(""))
	f.exec(`ALTER TABLE idempotency_keys RENAME TO elsewhere`)
	f.exec(`INSERT INTO used_refresh_tokens (token_id, used_by, expires_at) VALUES ('expired', uuid7(), now() - interval '2 hours')`)
	f.worker().deleteExpired(t.Context())
	if got := one[int](f, `SELECT count(*) FROM used_refresh_tokens`); got != 0 {
		t.Errorf("%d used refresh tokens are left", got)
	}
	f.exec(`ALTER TABLE elsewhere RENAME TO idempotency_keys`)
}
