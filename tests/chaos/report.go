package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// A recovery is how long it took after a fault until the first request was acknowledged, and until the first event got
// an outcome.
type recovery struct {
	ack, outcome time.Duration
	acked, done  bool
}

// recoveries measures, by kind of fault.
func (h *harness) recoveries(t *truth, faults []happened) map[string][]recovery {
	var outcomes []time.Time
	for _, rows := range t.visits {
		for _, row := range rows {
			if row.ProcessedAt != nil {
				outcomes = append(outcomes, *row.ProcessedAt)
			}
		}
	}
	slices.SortFunc(outcomes, time.Time.Compare)
	by := map[string][]recovery{}
	for _, f := range faults {
		var r recovery
		r.ack, r.acked = h.ledger.firstAckAfter(f.end)
		if i, _ := slices.BinarySearchFunc(outcomes, f.end, time.Time.Compare); i < len(outcomes) {
			r.outcome, r.done = outcomes[i].Sub(f.end), true
		}
		by[f.kind.name] = append(by[f.kind.name], r)
	}
	return by
}

// report writes the tables at the end.
func (h *harness) report(w io.Writer, faults []happened, recovered map[string][]recovery) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "\nTRAFFIC\t\n")
	fmt.Fprintf(table, "  visits\t%d\n", len(h.ledger.visits))
	for _, what := range slices.Sorted(maps.Keys(h.ledger.tally)) {
		fmt.Fprintf(table, "  %s\t%d\n", what, h.ledger.tally[what])
	}
	table.Flush()

	fmt.Fprintf(table, "\nFAULTS\tTIMES\tFIRST ANSWER AFTER: MEDIAN\tMOST\tFIRST OUTCOME AFTER: MEDIAN\tMOST\n")
	for _, name := range slices.Sorted(maps.Keys(recovered)) {
		var acks, outcomes []time.Duration
		for _, r := range recovered[name] {
			if r.acked {
				acks = append(acks, r.ack)
			}
			if r.done {
				outcomes = append(outcomes, r.outcome)
			}
		}
		fmt.Fprintf(table, "  %s\t%d\t%s\t%s\t%s\t%s\n", name, len(recovered[name]), median(acks), most(acks), median(outcomes), most(outcomes))
	}
	fmt.Fprintf(table, "  all\t%d\n", len(faults))
	table.Flush()

	fmt.Fprintf(table, "\nCHECK\tLOOKED AT\tVIOLATIONS\n")
	for _, c := range allChecks {
		fmt.Fprintf(table, "  %s\t%d\t%d\n", c, h.found.looks[c], h.found.count[c])
	}
	table.Flush()
	for _, c := range allChecks {
		if len(h.found.evidence[c]) == 0 {
			continue
		}
		fmt.Fprintf(w, "\nVIOLATED: %s\n", c)
		for _, e := range h.found.evidence[c] {
			fmt.Fprintf(w, "  %s\n", e)
		}
	}
}

func median(list []time.Duration) string {
	if len(list) == 0 {
		return "-"
	}
	slices.Sort(list)
	return seconds(list[(len(list)-1)/2])
}

func most(list []time.Duration) string {
	if len(list) == 0 {
		return "-"
	}
	return seconds(slices.Max(list))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
