package tests

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/limits"
)

func TestEventsAreLimitedBySourceSystem(t *testing.T) {
	t.Parallel()
	limits := withLimits(limits.Limits{Events: perHour(3)})
	s := startServer(t, limits)
	admin := s.token(adminName, adminPassword)
	hospital := s.plainHospital()
	_, token := s.plainUser(hospital)
	_, colleague := s.plainUser(hospital)
	_, elsewhere := s.plainUser(s.plainHospital())
	_, key := s.plainKey("lab")

	a := s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent("his"))
	wantLeft(t, a, "events", 2, time.Hour)
	wantLeft(t, a, "source", 29, time.Hour)
	wantLeft(t, a, "sender", 29, time.Hour)
	if got := a.header.Get("RateLimit-Policy"); got != `"events";q=3;w=3600, "source";q=30;w=3600, "sender";q=30;w=3600, `+
		`"events-bytes";q=100000000;w=3600;qu="content-bytes", "source-bytes";q=1000000000;w=3600;qu="content-bytes"` {
		t.Errorf("RateLimit-Policy: %s", got)
	}
	// A bulk counts once for each distinct source system.
	a = s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, token, sourceBulk("his", "his", "his", "rad", "rad"))
	wantLeft(t, a, "events", 1, time.Hour)
	wantLeft(t, a, "sender", 27, time.Hour)
	// An invalid request counts for its sender, but for no source.
	wantLeft(t, s.expectTimes(http.StatusBadRequest, 1, "POST", oneEventPath, token, sourceEvent("no source")), "sender", 26, time.Hour)
	wantLeft(t, s.expectTimes(http.StatusBadRequest, 1, "POST", manyEventsPath, token, "not JSON"), "sender", 25, time.Hour)
	wantLeft(t, s.expectTimes(http.StatusBadRequest, 1, "POST", manyEventsPath, token, sourceBulk("no source")), "sender", 24, time.Hour)

	// All users of a hospital share the limit of a source. An API key always counts for its own source.
	wantLeft(t, s.expectTimes(http.StatusBadRequest, 1, "POST", oneEventPath, "", sourceEvent("his"), "X-API-Key", key), "events", 2, time.Hour)
	wantLeft(t, s.expectTimes(http.StatusBadRequest, 1, "POST", manyEventsPath, "", sourceBulk("his", "rad"), "X-API-Key", key), "events", 1, time.Hour)
	// A caller without permission counts for no limit.
	_, anonymous := s.plainUser(nil)
	s.expectTimes(http.StatusForbidden, 5, "POST", oneEventPath, anonymous, sourceEvent("his"))
	s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, colleague, sourceEvent("his"))
	for _, s := range []*system{s, s.secondServer(limits)} {
		for range 2 { // by the database, then by the cache
			a = s.send("POST", oneEventPath, token, sourceEvent("his"))
			wantRefused(t, a, time.Hour)
			wantLeft(t, a, "events", 0, time.Hour)
			wantRefused(t, s.send("POST", oneEventPath, colleague, sourceEvent("his")), time.Hour)
			wantRefused(t, s.send("POST", manyEventsPath, token, sourceBulk("rad", "his", "pharmacy")), time.Hour)
		}
	}
	if stored := s.eventRows(); stored != 7 {
		t.Errorf("%d events stored, want 7", stored)
	}
	// Other hospitals, and those who send for all of them, have their own.
	wantLeft(t, s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, elsewhere, sourceEvent("his")), "events", 2, time.Hour)
	wantLeft(t, s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, admin, sourceEvent("his")), "events", 2, time.Hour)
	// The refused bulks did not count for their other sources.
	a = s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, token, sourceBulk("pharmacy", "rad"))
	wantLeft(t, a, "events", 1, time.Hour)
	wantLeft(t, a, "sender", 22, time.Hour)

	wantLeft(t, s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, "", sourceEvent("lab"), "X-API-Key", key), "events", 0, time.Hour)
	wantRefused(t, s.send("POST", oneEventPath, "", sourceEvent("lab"), "X-API-Key", key), time.Hour)

	s.ageCalls(time.Hour)
	s.secondServer(limits).expectTimes(http.StatusCreated, 3, "POST", oneEventPath, token, sourceEvent("his"))
}

// All hospitals together have ten times a source system's limit.
func TestSourceLimitIsTenTimesThatOfAHospital(t *testing.T) {
	t.Parallel()
	limits := withLimits(limits.Limits{Events: perHour(1)})
	s := startServer(t, limits)
	for i := range 10 {
		_, token := s.plainUser(s.plainHospital())
		wantLeft(t, s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent("his")), "source", int64(9-i), time.Hour)
	}
	_, key := s.plainKey("his")
	_, token := s.plainUser(s.plainHospital())
	for range 2 { // by the database, then by the cache
		wantRefused(t, s.send("POST", oneEventPath, token, sourceEvent("his")), time.Hour)
		wantRefused(t, s.send("POST", oneEventPath, "", sourceEvent("his"), "X-API-Key", key), time.Hour)
	}
	// What was refused for the source has not used up the hospital's limit of it, nor of another.
	s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent("lab"))
	s.ageCalls(time.Hour)
	s.secondServer(limits).expectTimes(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent("his"))
}

// bulkOfBytes is a bulk of one source system whose body has so many bytes.
func bulkOfBytes(source string, size int) string {
	head, tail := jsonText(sourceBulk(source)), ""
	head, tail = head[:len(head)-1], "}"
	return head + strings.Repeat(" ", size-len(head)-len(tail)) + tail
}

// Beside calls, the bytes of events' bodies are limited, by hospital and source system, and ten times over all hospitals.
func TestEventsAreLimitedByBytes(t *testing.T) {
	t.Parallel()
	const largest = limits.MinEventBytes
	limits := withLimits(limits.Limits{EventBytes: limits.Limit{Quota: largest, Window: time.Hour}})
	s := startServer(t, limits)
	_, token := s.plainUser(s.plainHospital())
	_, elsewhere := s.plainUser(s.plainHospital())
	_, key := s.plainKey("his")
	large := bulkOfBytes("his", largest*3/4)

	s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, token, large)
	wait := wantRefused(t, s.send("POST", manyEventsPath, token, large), time.Hour/2)
	if wait < 25*60 {
		t.Errorf("half of the bytes have to refill, which takes half an hour, not %d s", wait)
	}
	// Something small may pass, and what was refused has used up neither calls nor bytes.
	a := s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent("his"))
	wantLeft(t, a, "events", unreachableLimit.Quota-2, time.Hour)
	wantLeft(t, a, "source", 10*unreachableLimit.Quota-2, time.Hour)
	wantLeft(t, a, "sender", 10*unreachableLimit.Quota-2, time.Hour)
	s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, token, bulkOfBytes("his", largest/8))
	// Other source systems, hospitals and keys have their own. A bulk counts for each source system that it names.
	s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, token, bulkOfBytes("lab", largest*3/4))
	s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, elsewhere, large)
	s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, "", large, "X-API-Key", key)
	wantRefused(t, s.send("POST", manyEventsPath, "", large, "X-API-Key", key), time.Hour/2)

	// With time, the bucket refills.
	s.ageCalls(time.Duration(wait) * time.Second)
	s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, token, bulkOfBytes("his", largest/2))
	wantRefused(t, s.secondServer(limits).send("POST", manyEventsPath, token, large), time.Hour)
	// A clock that was set back makes nobody wait for it to come round again.
	s.ageCalls(-24 * time.Hour)
	s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, token, large)

	// All hospitals together have ten times as much of a source system.
	s.ageCalls(48 * time.Hour)
	for range 13 { // three quarters each
		_, token := s.plainUser(s.plainHospital())
		s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, token, bulkOfBytes("rad", largest*3/4))
	}
	wantRefused(t, s.send("POST", manyEventsPath, token, bulkOfBytes("rad", largest*3/4)), time.Hour)
	s.ageCalls(5 * time.Minute) // what was refused for all has not filled the hospital's own bucket
	s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, token, bulkOfBytes("rad", largest*3/4))
	s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, token, bulkOfBytes("his", largest*3/4))
}

func TestSenderLimitIsTenTimesTheSourceLimit(t *testing.T) {
	t.Parallel()
	limits := withLimits(limits.Limits{Events: perHour(2)})
	s := startServer(t, limits)
	admin := s.token(adminName, adminPassword)
	_, token := s.plainUser(s.plainHospital())
	for i := range 17 {
		s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent(fmt.Sprint("source-", i)))
		s.ageCalls(3 * time.Minute)
	}
	wantLeft(t, s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, token, sourceBulk("a", "b")), "sender", 1, 9*time.Minute)
	// One call is left. Two are possible when the oldest call leaves the window, three when the second
	// does.
	three := wantRefused(t, s.send("POST", manyEventsPath, token, sourceBulk("c", "d", "e")), 12*time.Minute)
	fresh := s.secondServer(limits)
	wantRefused(t, fresh.send("POST", manyEventsPath, token, sourceBulk("c", "d")), 9*time.Minute)
	if three <= 9*60 {
		t.Errorf("three calls are possible after %d seconds, want more than 9 minutes", three)
	}
	wantLeft(t, s.secondServer(limits).expectTimes(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent("c")), "sender", 0, 9*time.Minute)
	fresh = s.secondServer(limits)
	for range 2 {
		a := fresh.send("POST", oneEventPath, token, sourceEvent("d"))
		wantRefused(t, a, 9*time.Minute)
		wantLeft(t, a, "sender", 0, 9*time.Minute)
	}
	s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, admin, sourceEvent("d")) // another sender
	if stored := s.eventRows(); stored != 21 {
		t.Errorf("%d events stored, want 21", stored)
	}
	s.ageCalls(time.Duration(three) * time.Second)
	s.secondServer(limits).expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, token, sourceBulk("c", "d"))
	// A cost above the limit can never be admitted.
	tooMany := []string{}
	for i := range 21 {
		tooMany = append(tooMany, fmt.Sprint("wide-", i))
	}
	wantRefused(t, s.secondServer(limits).send("POST", manyEventsPath, token, sourceBulk(tooMany...)), time.Hour)
}

// The refusal of an expensive call does not apply to cheaper ones.
func TestRefusalOfAnExpensiveCall(t *testing.T) {
	t.Parallel()
	s := startServer(t, withLimits(limits.Limits{Events: perHour(2)}))
	token := s.token(adminName, adminPassword)
	var tooMany []string
	for i := range 21 {
		tooMany = append(tooMany, fmt.Sprint("wide-", i))
	}
	for range 2 {
		wantLeft(t, s.expectTimes(http.StatusTooManyRequests, 1, "POST", manyEventsPath, token, sourceBulk(tooMany...)), "sender", 20, time.Hour)
	}
	wantLeft(t, s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent("his")), "sender", 19, time.Hour)
}

// A large body is read only after its sender was checked, and is counted once.
func TestLargeBodiesAreLimited(t *testing.T) {
	t.Parallel()
	limits := withLimits(limits.Limits{Events: perHour(3)})
	s := startServer(t, limits)
	_, token := s.plainUser(s.plainHospital())
	_, anonymous := s.plainUser(nil)
	large := func(sources ...string) map[string]any {
		body := sourceBulk(sources...)
		body["padding"] = strings.Repeat("x", 20<<10)
		return body
	}
	s.expectTimes(http.StatusForbidden, 1, "POST", manyEventsPath, anonymous, strings.Repeat("x", 20<<10))
	a := s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, token, large("his", "his", "rad"))
	wantLeft(t, a, "events", 2, time.Hour)
	wantLeft(t, a, "sender", 28, time.Hour)
	wantLeft(t, s.expectTimes(http.StatusBadRequest, 1, "POST", manyEventsPath, token, strings.Repeat("x", 20<<10)), "sender", 27, time.Hour)
	s.expectTimes(http.StatusCreated, 2, "POST", manyEventsPath, token, large("his"))
	for _, s := range []*system{s, s.secondServer(limits)} {
		for range 2 {
			wantRefused(t, s.send("POST", manyEventsPath, token, large("his", "rad")), time.Hour)
		}
	}
	wantLeft(t, s.expectTimes(http.StatusCreated, 1, "POST", manyEventsPath, token, large("rad")), "sender", 24, time.Hour)
}

// Concurrent calls that need several limits, in any order, neither deadlock nor count for one limit if
// another refuses them.
func TestParallelBulksTakeAllOrNothing(t *testing.T) {
	t.Parallel()
	limits := withLimits(limits.Limits{Events: perHour(40)})
	s := startServer(t, limits)
	servers := []*system{s, s.secondServer(limits)}
	token := s.token(adminName, adminPassword)
	sources := []string{"a", "b", "c", "d", "e"}
	var mu sync.Mutex
	admitted := map[string]int{}
	var group sync.WaitGroup
	for worker := range 10 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 360))
			for range 20 {
				named := make([]string, 0, 3)
				for _, i := range random.Perm(len(sources))[:3] {
					named = append(named, sources[i])
				}
				a := servers[worker%2].send("POST", manyEventsPath, token, sourceBulk(named...))
				switch a.status {
				case http.StatusCreated:
					mu.Lock()
					for _, source := range named {
						admitted[source]++
					}
					mu.Unlock()
				case http.StatusTooManyRequests:
				default:
					t.Errorf("%d %s", a.status, a.body)
				}
			}
		})
	}
	group.Wait()
	full, fresh := 0, s.secondServer(limits)
	for _, source := range sources {
		a := fresh.send("POST", oneEventPath, token, sourceEvent(source))
		if refused := a.status == http.StatusTooManyRequests; refused != (admitted[source] == 40) || admitted[source] > 40 {
			t.Errorf("%s: %d after %d were admitted, want %d", source, a.status, admitted[source], 40)
		} else if refused {
			full++
		}
	}
	if full < 3 {
		t.Errorf("only %d sources are exhausted: the test sends too few calls", full)
	}
}

// Refused calls must not use the database, so that a flood of them cannot exhaust it.
func TestRefusedCallsDoNotReachTheDatabase(t *testing.T) {
	t.Parallel()
	s := startServer(t, withLimits(limits.Limits{User: perHour(9), Auth: perHour(3), Events: perHour(3)}))
	admin := s.token(adminName, adminPassword)
	_, token := s.plainUser(s.plainHospital()) // the third login from this address
	_, key := s.plainKey("lab")
	login := map[string]string{"username": adminName, "password": adminPassword}
	for what, test := range map[string]struct {
		admitted, status int
		method, path     string
		token            string
		body             any
		header           []string
	}{
		"user":   {9, http.StatusOK, "GET", ownPath, token, nil, nil},
		"login":  {0, 0, "POST", loginPath, "", login, nil},
		"source": {3, http.StatusCreated, "POST", oneEventPath, token, sourceEvent("his"), nil},
		"bulk":   {3, http.StatusCreated, "POST", manyEventsPath, admin, sourceBulk("rad", "rad"), nil},
		"key":    {3, http.StatusCreated, "POST", oneEventPath, "", sourceEvent("lab"), []string{"X-API-Key", key}},
	} {
		s.expectTimes(test.status, test.admitted, test.method, test.path, test.token, test.body, test.header...)
		s.expectTimes(http.StatusTooManyRequests, 1, test.method, test.path, test.token, test.body, test.header...)
		used := int64(-1)
		for try := 0; used != 0 && try < 5; try++ { // again, as workers are notified of what was admitted a moment later
			before := s.idlePool()
			s.expectTimes(http.StatusTooManyRequests, 50, test.method, test.path, test.token, test.body, test.header...)
			used = s.db.Stat().AcquireCount() - before
		}
		if used != 0 {
			t.Errorf("%s: 50 refused calls used the database %d times", what, used)
		}
	}
}

// idlePool waits until no background work of the server uses the database, and returns the number of
// acquired connections so far.
func (s *system) idlePool() int64 {
	s.t.Helper()
	count := s.db.Stat().AcquireCount()
	for range 3 {
		s.expectTimes(http.StatusOK, 20, "GET", "/healthz", "", nil)
		if now := s.db.Stat().AcquireCount(); now != count || s.db.Stat().AcquiredConns() > 0 {
			return s.idlePool()
		}
	}
	return count
}

// A refused sender's authentication is cached, but only to refuse further calls.
func TestCachedRefusalDoesNotAuthenticate(t *testing.T) {
	t.Parallel()
	s := startServer(t, withLimits(limits.Limits{Events: perHour(1)}))
	hospital := s.plainHospital()
	_, colleague := s.plainUser(hospital)
	id, token := s.plainUser(hospital)
	config, key := s.plainKey("lab") // of all hospitals, like an event of a PX Admin
	s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, colleague, sourceEvent("his"))
	s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, s.token(adminName, adminPassword), sourceEvent("lab"))
	wantRefused(t, s.send("POST", oneEventPath, token, sourceEvent("his")), time.Hour)
	wantRefused(t, s.send("POST", oneEventPath, "", sourceEvent("lab"), "X-API-Key", key), time.Hour)
	s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent("rad")) // the cached token is verified
	s.expectTimes(http.StatusBadRequest, 1, "POST", oneEventPath, token, "not JSON")
	// All calls of a key count for its source, so they are refused from the cache.
	s.expectTimes(http.StatusTooManyRequests, 1, "POST", oneEventPath, "", sourceEvent("his"), "X-API-Key", key)

	try(s.admin.UpdateUser(t.Context(), id, client.UserUpdate{IsActive: client.Ptr(false)})).ok(t)
	try(s.admin.UpdateIntegrationConfig(t.Context(), config, client.IntegrationConfigUpdate{IsActive: client.Ptr(false)})).ok(t)
	for _, call := range []struct {
		path string
		body any
	}{{oneEventPath, sourceEvent("pharmacy")}, {manyEventsPath, sourceBulk("pharmacy")}, {oneEventPath, "not JSON"}} {
		s.expectTimes(http.StatusUnauthorized, 1, "POST", call.path, token, call.body)
		s.expectTimes(http.StatusTooManyRequests, 1, "POST", call.path, "", call.body, "X-API-Key", key)
		s.secondServer(withLimits(limits.Limits{Events: perHour(1)})).expectTimes(http.StatusUnauthorized, 1, "POST", call.path, "", call.body, "X-API-Key", key)
	}
	if stored := s.eventRows(); stored != 3 {
		t.Errorf("%d events stored, want 3", stored)
	}
}

// TestRateLimitsTakeAgainstAModel compares the SQL function with a list of all calls. Time advances in steps
// of ten minutes, and windows end between steps, so the duration of the test does not matter.
func TestRateLimitsTakeAgainstAModel(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	q, ctx, random := db.New(s.db), context.Background(), rand.New(rand.NewPCG(1, 360))
	const window, step = 55, 10 // minutes
	for round := range 6 {
		name, quota := fmt.Sprint("model ", round), []int64{1, 5, 64, 65, 150, 400}[round]
		var ages []int // in minutes, of the calls that were admitted, oldest first
		for try := range 250 {
			if passed := []int{0, 0, 0, 1, 2, 5, 6, 7}[random.IntN(8)] * step; passed > 0 && random.IntN(3) == 0 {
				s.ageCalls(time.Duration(passed) * time.Minute)
				for i := range ages {
					ages[i] += passed
				}
			}
			for len(ages) > 0 && ages[0] > window {
				ages = ages[1:]
			}
			// A call that another limit refuses is rolled back, wherever it is in the queue.
			span := (window * time.Minute).Microseconds()
			both, err := q.RateLimitsTake(ctx, db.RateLimitsTakeParams{
				Keys: []string{name, "nobody"}, Numbers: []int64{1, quota, span, 0, 0, 1, 0, span, 0, 0},
			})
			must(t, err)
			if left := quota - int64(len(ages)); both[0] != left || both[2] == 0 && both[7] == 0 {
				t.Fatalf("quota %d, call %d: %+v after the rollback, want %d left", quota, try, both, left)
			}
			cost := []int64{0, 1, 1, 2, 5, 40, 90}[random.IntN(7)]
			all, err := q.RateLimitsTake(ctx, db.RateLimitsTakeParams{
				Keys: []string{name}, Numbers: []int64{cost, quota, span, 0, 0},
			})
			must(t, err)
			row := struct{ Remaining, Reset, Wait int64 }{all[0], all[1], all[2]}
			admitted := int64(len(ages))+max(cost, 1) <= quota
			left, wait := quota-int64(len(ages)), 0
			if admitted {
				left -= cost
				for range cost {
					ages = append(ages, 0)
				}
			} else if leaving := max(cost, 1) - left; leaving > int64(len(ages)) {
				wait = window
			} else {
				wait = window - ages[leaving-1]
			}
			got := time.Duration(row.Wait) * time.Microsecond
			if row.Remaining != left || (row.Wait == 0) != admitted || got > time.Duration(wait)*time.Minute || got < time.Duration(wait-step/2)*time.Minute {
				t.Fatalf("quota %d, call %d of cost %d: %+v, want %d left and to wait %d minutes", quota, try, cost, row, left, wait)
			}
			if reset := time.Duration(row.Reset) * time.Microsecond; len(ages) > 0 &&
				(reset > time.Duration(window-ages[0])*time.Minute || reset < time.Duration(window-ages[0]-step/2)*time.Minute) {
				t.Fatalf("quota %d, call %d: the oldest leaves after %v, want %d minutes", quota, try, reset, window-ages[0])
			}
		}
	}
}

// Calls that were recorded with a clock in the future do not block a key after the clock was set
// back.
func TestRateLimitsAfterClockIsSetBack(t *testing.T) {
	t.Parallel()
	limits := withLimits(limits.Limits{User: perHour(2)})
	s := startServer(t, limits)
	token := s.token(adminName, adminPassword)
	s.expectTimes(http.StatusOK, 2, "GET", ownPath, token, nil)
	s.ageCalls(-24 * time.Hour)
	s.expectTimes(http.StatusOK, 2, "GET", ownPath, token, nil)
	s.ageCalls(-10 * time.Minute)
	s = s.secondServer(limits)
	wantRefused(t, s.send("GET", ownPath, token, nil), 70*time.Minute)
}
