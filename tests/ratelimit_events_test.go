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

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/limits"
)

func TestEventsAreLimitedBySourceSystem(t *testing.T) {
	t.Parallel()
	limits := limited(limits.Limits{Events: perHour(3)})
	s := startServer(t, limits)
	admin := s.token(adminName, adminPassword)
	_, token := s.plainUser(admin, s.plainHospital(admin))
	_, key := s.plainKey(admin, "lab")

	a := s.gives(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent("his"))
	wantLeft(t, a, "events", 2, time.Hour)
	wantLeft(t, a, "sender", 29, time.Hour)
	if got := a.header.Get("RateLimit-Policy"); got != `"events";q=3;w=3600, "sender";q=30;w=3600` {
		t.Errorf("RateLimit-Policy: %s", got)
	}
	// A bulk counts once for each source system that it names, however often.
	a = s.gives(http.StatusCreated, 1, "POST", manyEventsPath, token, sourceBulk("his", "his", "his", "rad", "rad"))
	wantLeft(t, a, "events", 1, time.Hour)
	wantLeft(t, a, "sender", 27, time.Hour)
	// What is refused as it stands counts for its sender, and for no source.
	wantLeft(t, s.gives(http.StatusBadRequest, 1, "POST", oneEventPath, token, sourceEvent("no source")), "sender", 26, time.Hour)
	wantLeft(t, s.gives(http.StatusBadRequest, 1, "POST", manyEventsPath, token, "not JSON"), "sender", 25, time.Hour)
	wantLeft(t, s.gives(http.StatusBadRequest, 1, "POST", manyEventsPath, token, sourceBulk("no source")), "sender", 24, time.Hour)

	// Everybody shares the source's limit, but an API key counts for its own, whatever it sends.
	wantLeft(t, s.gives(http.StatusBadRequest, 1, "POST", oneEventPath, "", sourceEvent("his"), "X-API-Key", key), "events", 2, time.Hour)
	wantLeft(t, s.gives(http.StatusBadRequest, 1, "POST", manyEventsPath, "", sourceBulk("his", "rad"), "X-API-Key", key), "events", 1, time.Hour)
	// And who may not send events counts for none.
	_, stranger := s.plainUser(admin, nil)
	s.gives(http.StatusForbidden, 5, "POST", oneEventPath, stranger, sourceEvent("his"))
	s.gives(http.StatusCreated, 1, "POST", oneEventPath, admin, sourceEvent("his"))
	for _, s := range []*system{s, s.another(limits)} {
		for range 2 { // by the database, and from memory
			a = s.send("POST", oneEventPath, token, sourceEvent("his"))
			wantRefused(t, a, time.Hour)
			wantLeft(t, a, "events", 0, time.Hour)
			wantRefused(t, s.send("POST", oneEventPath, admin, sourceEvent("his")), time.Hour)
			wantRefused(t, s.send("POST", manyEventsPath, token, sourceBulk("rad", "his", "pharmacy")), time.Hour)
		}
	}
	if stored := s.eventRows(); stored != 7 {
		t.Errorf("%d events stored, want 7", stored)
	}
	// Neither did those refusals count for the sources that had some left.
	a = s.gives(http.StatusCreated, 1, "POST", manyEventsPath, token, sourceBulk("pharmacy", "rad"))
	wantLeft(t, a, "events", 1, time.Hour)
	wantLeft(t, a, "sender", 22, time.Hour)

	wantLeft(t, s.gives(http.StatusCreated, 1, "POST", oneEventPath, "", sourceEvent("lab"), "X-API-Key", key), "events", 0, time.Hour)
	wantRefused(t, s.send("POST", oneEventPath, "", sourceEvent("lab"), "X-API-Key", key), time.Hour)

	s.elapse(time.Hour)
	s.another(limits).gives(http.StatusCreated, 3, "POST", oneEventPath, token, sourceEvent("his"))
}

func TestASenderHasTenTimesASourcesLimit(t *testing.T) {
	t.Parallel()
	limits := limited(limits.Limits{Events: perHour(2)})
	s := startServer(t, limits)
	admin := s.token(adminName, adminPassword)
	_, token := s.plainUser(admin, s.plainHospital(admin))
	for i := range 17 {
		s.gives(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent(fmt.Sprint("source-", i)))
		s.elapse(3 * time.Minute)
	}
	wantLeft(t, s.gives(http.StatusCreated, 1, "POST", manyEventsPath, token, sourceBulk("a", "b")), "sender", 1, 9*time.Minute)
	// There is room for one, and not for two: not until the first has been gone for an hour, and for three
	// not until the second has.
	three := wantRefused(t, s.send("POST", manyEventsPath, token, sourceBulk("c", "d", "e")), 12*time.Minute)
	fresh := s.another(limits)
	wantRefused(t, fresh.send("POST", manyEventsPath, token, sourceBulk("c", "d")), 9*time.Minute)
	if three <= 9*60 {
		t.Errorf("three can be sent after %d seconds, want more than 9 minutes", three)
	}
	wantLeft(t, s.another(limits).gives(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent("c")), "sender", 0, 9*time.Minute)
	fresh = s.another(limits)
	for range 2 {
		a := fresh.send("POST", oneEventPath, token, sourceEvent("d"))
		wantRefused(t, a, 9*time.Minute)
		wantLeft(t, a, "sender", 0, 9*time.Minute)
	}
	s.gives(http.StatusCreated, 1, "POST", oneEventPath, admin, sourceEvent("d")) // another sender
	if stored := s.eventRows(); stored != 21 {
		t.Errorf("%d events stored, want 21", stored)
	}
	s.elapse(time.Duration(three) * time.Second)
	s.another(limits).gives(http.StatusCreated, 1, "POST", manyEventsPath, token, sourceBulk("c", "d"))
	// What costs more than there ever is.
	wide := []string{}
	for i := range 21 {
		wide = append(wide, fmt.Sprint("wide-", i))
	}
	wantRefused(t, s.another(limits).send("POST", manyEventsPath, token, sourceBulk(wide...)), time.Hour)
}

// That a call was refused for what it costs says nothing of cheaper ones.
func TestADearCallDoesNotShutOutCheapOnes(t *testing.T) {
	t.Parallel()
	s := startServer(t, limited(limits.Limits{Events: perHour(2)}))
	token := s.token(adminName, adminPassword)
	var wide []string
	for i := range 21 {
		wide = append(wide, fmt.Sprint("wide-", i))
	}
	for range 2 {
		wantLeft(t, s.gives(http.StatusTooManyRequests, 1, "POST", manyEventsPath, token, sourceBulk(wide...)), "sender", 20, time.Hour)
	}
	wantLeft(t, s.gives(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent("his")), "sender", 19, time.Hour)
}

// A large body is read when its sender is known to be welcome, and counts all the same.
func TestLargeBodiesAreLimited(t *testing.T) {
	t.Parallel()
	limits := limited(limits.Limits{Events: perHour(3)})
	s := startServer(t, limits)
	admin := s.token(adminName, adminPassword)
	_, token := s.plainUser(admin, s.plainHospital(admin))
	_, stranger := s.plainUser(admin, nil)
	large := func(sources ...string) map[string]any {
		body := sourceBulk(sources...)
		body["padding"] = strings.Repeat("x", 20<<10)
		return body
	}
	s.gives(http.StatusForbidden, 1, "POST", manyEventsPath, stranger, strings.Repeat("x", 20<<10))
	a := s.gives(http.StatusCreated, 1, "POST", manyEventsPath, token, large("his", "his", "rad"))
	wantLeft(t, a, "events", 2, time.Hour)
	wantLeft(t, a, "sender", 28, time.Hour)
	wantLeft(t, s.gives(http.StatusBadRequest, 1, "POST", manyEventsPath, token, strings.Repeat("x", 20<<10)), "sender", 27, time.Hour)
	s.gives(http.StatusCreated, 2, "POST", manyEventsPath, token, large("his"))
	for _, s := range []*system{s, s.another(limits)} {
		for range 2 {
			wantRefused(t, s.send("POST", manyEventsPath, token, large("his", "rad")), time.Hour)
		}
	}
	wantLeft(t, s.gives(http.StatusCreated, 1, "POST", manyEventsPath, token, large("rad")), "sender", 24, time.Hour)
}

// Calls that need several limits at once, named in any order, neither wait for each other in a circle nor
// take from one limit what another refuses.
func TestParallelBulksTakeAllOrNothing(t *testing.T) {
	t.Parallel()
	limits := limited(limits.Limits{Events: perHour(40)})
	s := startServer(t, limits)
	servers := []*system{s, s.another(limits)}
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
	full, fresh := 0, s.another(limits)
	for _, source := range sources {
		a := fresh.send("POST", oneEventPath, token, sourceEvent(source))
		if refused := a.status == http.StatusTooManyRequests; refused != (admitted[source] == 40) || admitted[source] > 40 {
			t.Errorf("%s: %d after %d were admitted, want %d", source, a.status, admitted[source], 40)
		} else if refused {
			full++
		}
	}
	if full < 3 {
		t.Errorf("only %d sources are used up: the test asks for too little", full)
	}
}

// A flood of refused calls must not take from the database what the others need.
func TestRefusedCallsDoNotReachTheDatabase(t *testing.T) {
	t.Parallel()
	s := startServer(t, limited(limits.Limits{User: perHour(9), Auth: perHour(3), Events: perHour(3)}))
	admin := s.token(adminName, adminPassword)
	_, token := s.plainUser(admin, s.plainHospital(admin)) // logs in: the third time here
	_, key := s.plainKey(admin, "lab")
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
		s.gives(test.status, test.admitted, test.method, test.path, test.token, test.body, test.header...)
		s.gives(http.StatusTooManyRequests, 1, test.method, test.path, test.token, test.body, test.header...)
		before := s.quietPool()
		s.gives(http.StatusTooManyRequests, 50, test.method, test.path, test.token, test.body, test.header...)
		if used := s.db.Stat().AcquireCount() - before; used != 0 {
			t.Errorf("%s: 50 refused calls used the database %d times", what, used)
		}
	}
}

// quietPool waits until nothing that the server does by itself, such as telling workers of events, uses
// the database, and returns how often it was used so far.
func (s *system) quietPool() int64 {
	s.t.Helper()
	count := s.db.Stat().AcquireCount()
	for range 3 {
		s.gives(http.StatusOK, 20, "GET", "/healthz", "", nil)
		if now := s.db.Stat().AcquireCount(); now != count || s.db.Stat().AcquiredConns() > 0 {
			return s.quietPool()
		}
	}
	return count
}

// Who was refused a moment ago is known without the database, and believed to be the same as long as that
// only refuses.
func TestARefusedSenderIsNotTrustedLonger(t *testing.T) {
	t.Parallel()
	s := startServer(t, limited(limits.Limits{Events: perHour(1)}))
	admin := s.token(adminName, adminPassword)
	id, token := s.plainUser(admin, s.plainHospital(admin))
	config, key := s.plainKey(admin, "lab")
	for _, body := range []map[string]any{sourceEvent("his"), sourceEvent("lab")} {
		s.gives(http.StatusCreated, 1, "POST", oneEventPath, admin, body)
	}
	wantRefused(t, s.send("POST", oneEventPath, token, sourceEvent("his")), time.Hour)
	wantRefused(t, s.send("POST", oneEventPath, "", sourceEvent("lab"), "X-API-Key", key), time.Hour)
	s.gives(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent("rad")) // is confirmed
	s.gives(http.StatusBadRequest, 1, "POST", oneEventPath, token, "not JSON")
	// Of a key everything counts for its source, so nothing is left to confirm.
	s.gives(http.StatusTooManyRequests, 1, "POST", oneEventPath, "", sourceEvent("his"), "X-API-Key", key)

	s.gives(http.StatusOK, 1, "PATCH", "/api/auth/users/"+id.String()+"/", admin, map[string]any{"is_active": false})
	s.gives(http.StatusOK, 1, "PATCH", "/api/integrations/configs/"+config+"/", admin, map[string]any{"is_active": false})
	for _, call := range []struct {
		path string
		body any
	}{{oneEventPath, sourceEvent("pharmacy")}, {manyEventsPath, sourceBulk("pharmacy")}, {oneEventPath, "not JSON"}} {
		s.gives(http.StatusUnauthorized, 1, "POST", call.path, token, call.body)
		s.gives(http.StatusTooManyRequests, 1, "POST", call.path, "", call.body, "X-API-Key", key)
		s.another(limited(limits.Limits{Events: perHour(1)})).gives(http.StatusUnauthorized, 1, "POST", call.path, "", call.body, "X-API-Key", key)
	}
	if stored := s.eventRows(); stored != 3 {
		t.Errorf("%d events stored, want 3", stored)
	}
}

// TestRateLimitsTakeAgainstAModel compares the database's counting with a list of all calls. Time passes in
// steps of ten minutes and windows end between them, so that how long the test itself takes does not matter.
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
				s.elapse(time.Duration(passed) * time.Minute)
				for i := range ages {
					ages[i] += passed
				}
			}
			for len(ages) > 0 && ages[0] > window {
				ages = ages[1:]
			}
			// What another limit refuses is given back, wherever in its queue it was put.
			span := (window * time.Minute).Microseconds()
			both, err := q.RateLimitsTake(ctx, db.RateLimitsTakeParams{
				Keys: []string{name, "nobody"}, Costs: []int64{1, 1}, Quotas: []int64{quota, 0}, WindowsUs: []int64{span, span},
			})
			must(t, err)
			if left := quota - int64(len(ages)); both[0] != left || both[2] == 0 && both[5] == 0 {
				t.Fatalf("quota %d, call %d: %+v after being given back, want %d left", quota, try, both, left)
			}
			cost := []int64{0, 1, 1, 2, 5, 40, 90}[random.IntN(7)]
			all, err := q.RateLimitsTake(ctx, db.RateLimitsTakeParams{
				Keys: []string{name}, Costs: []int64{cost}, Quotas: []int64{quota}, WindowsUs: []int64{span},
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

// A clock that was wrong for a while must not keep anybody out once it is right.
func TestAClockSetBackKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	limits := limited(limits.Limits{User: perHour(2)})
	s := startServer(t, limits)
	token := s.token(adminName, adminPassword)
	s.gives(http.StatusOK, 2, "GET", ownPath, token, nil)
	s.elapse(-24 * time.Hour)
	s.gives(http.StatusOK, 2, "GET", ownPath, token, nil)
	s.elapse(-10 * time.Minute)
	s = s.another(limits)
	wantRefused(t, s.send("GET", ownPath, token, nil), 70*time.Minute)
}
