package main

import (
	"fmt"
	"sync"
)

// A check is a promise that a run looks at.
type check string

// The checks, in the order of the report.
const (
	checkStored    check = "an acknowledged event is stored, once"
	checkUnsent    check = "nothing is stored that nobody sent"
	checkRefused   check = "a refusal, or a 503 other than outcome_unknown, did nothing"
	checkAnswers   check = "no answer is a 500"
	checkBulk      check = "the counts of a bulk are true"
	checkOrder     check = "events of an encounter are stored in the order of their acceptance"
	checkOutcome   check = "an event's outcome is the model's"
	checkStages    check = "stages are completed as in the model, once"
	checkJourneys  check = "journeys and their progress are the model's"
	checkSurveys   check = "each completed stage has its survey, once"
	checkPoison    check = "a poison event is given up, alone"
	checkDay       check = "the hospital day comes out as in the model"
	checkPending   check = "nothing is pending 30 s after the last fault"
	checkWaits     check = "no event waits 30 s that no fault excuses"
	checkAudit     check = "an acknowledged change has one audit row"
	checkCrashes   check = "no process ends by itself"
	checkLeaks     check = "every process is ready, and leaks no connection, descriptor, goroutine or memory"
	checkDeadlocks check = "Postgres ends no transaction as a deadlock victim"
)

var allChecks = [...]check{
	checkStored, checkUnsent, checkRefused, checkAnswers, checkBulk, checkOrder, checkOutcome, checkStages, checkJourneys,
	checkSurveys, checkPoison, checkDay, checkPending, checkWaits, checkAudit, checkCrashes, checkLeaks, checkDeadlocks,
}

// keptEvidence is how many violations of a check are told in words.
const keptEvidence = 5

// findings are the violations of a run, and how often each check looked.
type findings struct {
	mu       sync.Mutex
	looks    map[check]int
	count    map[check]int
	evidence map[check][]string
}

func newFindings() *findings {
	return &findings{looks: map[check]int{}, count: map[check]int{}, evidence: map[check][]string{}}
}

// look counts that a check looked at so many things.
func (f *findings) look(c check, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks[c] += n
}

// add notes a violation.
func (f *findings) add(c check, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[c]++
	if len(f.evidence[c]) < keptEvidence {
		f.evidence[c] = append(f.evidence[c], fmt.Sprintf(format, args...))
	}
}

// expect looks once, and notes a violation unless it holds.
func (f *findings) expect(c check, holds bool, format string, args ...any) {
	f.look(c, 1)
	if !holds {
		f.add(c, format, args...)
	}
}

// total is how many violations there are.
func (f *findings) total() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	total := 0
	for _, n := range f.count {
		total += n
	}
	return total
}
