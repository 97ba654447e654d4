package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/tests/hospitalday"
)

// What a process without anything to do may have. A fresh one has some 30 goroutines, 20 descriptors and 50 MB.
const (
	mostGoroutines  = 120
	mostDescriptors = 100
	mostMemory      = 400 << 20
	idleLimit       = 20 * time.Second
)

// checkLeaks looks at the idle processes, and at what they hold in Postgres.
func (h *harness) checkLeaks(ctx context.Context) {
	var wrong []string
	for deadline := time.Now().Add(idleLimit); ; {
		wrong = append(h.processLeaks(ctx), h.sessionLeaks(ctx)...)
		if len(wrong) == 0 || time.Now().After(deadline) || !sleep(ctx, time.Second) {
			break
		}
	}
	h.found.look(checkLeaks, 5*len(h.processes())+2)
	for _, w := range wrong {
		h.found.add(checkLeaks, "%s", w)
	}
}

func (h *harness) processLeaks(ctx context.Context) (wrong []string) {
	for _, p := range h.processes() {
		if !answersOK(ctx, p.url()+"/readyz") {
			wrong = append(wrong, p.name+" is not ready")
		}
		metrics, err := readMetrics(ctx, "http://"+p.metrics+"/metrics")
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s has no metrics: %v", p.name, err))
			continue
		}
		connections := 0
		for _, proxy := range p.proxies {
			connections += len(proxy.backends())
		}
		for _, limit := range []struct {
			what      string
			got, most float64
		}{
			{"goroutines", metrics["go_goroutines"], mostGoroutines},
			{"descriptors", metrics["process_open_fds"], mostDescriptors},
			{"bytes of memory", metrics["process_resident_memory_bytes"], mostMemory},
			{"connections", float64(connections), maxConnections + 1}, // and the one that is notified
		} {
			if limit.got > limit.most {
				wrong = append(wrong, fmt.Sprintf("%s has %.0f %s, at most %.0f are in order", p.name, limit.got, limit.what, limit.most))
			}
		}
	}
	return wrong
}

// sessionLeaks looks for transactions and locks that nobody ends.
func (h *harness) sessionLeaks(ctx context.Context) (wrong []string) {
	conn, err := h.cluster.connect(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var transactions, locks int
	err = conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'px360' AND state LIKE 'idle in transaction%'),
		(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')`).Scan(&transactions, &locks)
	if err != nil {
		return []string{err.Error()}
	}
	if transactions > 0 {
		wrong = append(wrong, fmt.Sprintf("%d sessions are idle in a transaction", transactions))
	}
	if locks > 0 {
		wrong = append(wrong, fmt.Sprintf("%d advisory locks are held", locks))
	}
	return wrong
}

// readMetrics reads the values without labels.
func readMetrics(ctx context.Context, url string) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	values := map[string]float64{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		if value, err := strconv.ParseFloat(text, 64); err == nil {
			values[name] = value
		}
	}
	return values, lines.Err()
}

// checkLogs looks for what Postgres and the processes tell only there.
func (h *harness) checkLogs() {
	for _, n := range h.cluster.nodes {
		h.found.look(checkDeadlocks, 1)
		for _, line := range linesWith(n.logFile(), "deadlock detected") {
			h.found.add(checkDeadlocks, "%s (%s)", line, n.logFile())
		}
	}
	for _, p := range h.processes() {
		for _, line := range linesWith(filepath.Join(h.dir, p.name+".log"), "panic", "fatal error") {
			h.found.add(checkCrashes, "%s: %s", p.name, line)
		}
	}
}

func linesWith(path string, words ...string) (found []string) {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		for _, word := range words {
			if strings.Contains(lines.Text(), word) {
				found = append(found, lines.Text())
				break
			}
		}
	}
	return found
}

// shownJourneys is how many journeys are also read through the API.
const shownJourneys = 200

// checkProgress compares what the API shows of some journeys with the stages in the database.
func (h *harness) checkProgress(ctx context.Context, t *truth) {
	step := len(h.ledger.visits)/shownJourneys + 1
	for i := 0; i < len(h.ledger.visits); i += step {
		stored := t.byID[h.ledger.visits[i].journey]
		if stored == nil {
			continue
		}
		var progress *client.JourneyProgress
		if _, err := h.traffic.call(ctx, true, func(a *api) (err error) {
			progress, err = a.admin.RetrieveJourneyProgress(ctx, stored.ID)
			return err
		}); err != nil {
			h.found.add(checkJourneys, "progress of %s: %v", stored.Encounter, err)
			continue
		}
		completed := 0
		for _, s := range stored.stages {
			if s.Status == hospitalday.StageCompleted {
				completed++
			}
		}
		h.found.expect(checkJourneys, int(progress.CompletionPercentage) == 100*completed/len(stored.stages) && string(progress.Status) == stored.Status,
			"progress of %s is %d %% (%s), with %d of %d stages completed (%s)", stored.Encounter,
			progress.CompletionPercentage, progress.Status, completed, len(stored.stages), stored.Status)
	}
}
