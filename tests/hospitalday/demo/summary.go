package demo

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/px360/px360/gen/client"
)

// Summary is the result of a run.
type Summary struct {
	URL, Hospital string
	Catalogue     []Made

	// The answers to the events that were sent.
	Accepted, Duplicates, Refused int
	RefusedFor                    map[string]int // by message

	// The outcomes of the day's events and journeys, those of earlier runs included.
	Outcomes map[Outcome]int
	Surveys  int            // scheduled by one of the events
	Journeys map[string]int // of the hospital, by status

	// Of the hospital's surveys, if they were sent.
	SurveyOutcomes map[Outcome]int
	Scores         *client.SurveyScore
	SurveyToOpen   string // the path of one that is not answered

	Actions       map[string]int // of the hospital, by status, if there are any
	Breached      int            // of them
	Webhooks      map[string]int // that were verified, by type
	WrongWebhooks int            // that could not be

	CatalogueTime time.Duration
	SendTime      time.Duration // with the creation of late journeys
	ApplyTime     time.Duration // from the first event sent until none was pending

	sendBegun time.Time
}

// Made counts the rows of one noun.
type Made struct {
	Noun           string
	Created, Found int
}

// Outcome is the result of processing an event.
type Outcome struct {
	Status, Reason string
}

// Write writes the summary as a table.
func (s *Summary) Write(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "A hospital day at %s, hospital %s\n\n", s.URL, s.Hospital)
	fmt.Fprintf(table, "set up\tcreated\tthere before\n")
	for _, made := range s.Catalogue {
		fmt.Fprintf(table, "  %s\t%d\t%d\n", made.Noun, made.Created, made.Found)
	}
	fmt.Fprintf(table, "\nevents sent\t%d\n", s.Accepted+s.Duplicates+s.Refused)
	fmt.Fprintf(table, "  accepted\t%d\n", s.Accepted)
	fmt.Fprintf(table, "  duplicate\t%d\tstored before, known by the source_event_id\n", s.Duplicates)
	for _, reason := range byCount(s.RefusedFor) {
		fmt.Fprintf(table, "  refused\t%d\t%s\n", s.RefusedFor[reason], reason)
	}
	fmt.Fprintf(table, "\nwhat became of them\t%d\n", total(s.Outcomes))
	for _, outcome := range byCount(s.Outcomes) {
		fmt.Fprintf(table, "  %s\t%d\t%s\n", outcome.Status, s.Outcomes[outcome], outcome.Reason)
	}
	fmt.Fprintf(table, "\njourneys\t%d\n", total(s.Journeys))
	for _, status := range byCount(s.Journeys) {
		fmt.Fprintf(table, "  %s\t%d\n", status, s.Journeys[status])
	}
	fmt.Fprintf(table, "surveys scheduled\t%d\n", s.Surveys)
	s.writeSurveys(table)
	s.writeActions(table)
	fmt.Fprintf(table, "\nsetting up\t%s\n", seconds(s.CatalogueTime))
	fmt.Fprintf(table, "sending\t%s\t%s\n", seconds(s.SendTime), perSecond("accepted", s.Accepted, s.SendTime))
	fmt.Fprintf(table, "until all was applied\t%s\t%s\n", seconds(s.ApplyTime), perSecond("applied", s.Accepted, s.ApplyTime))
	return table.Flush()
}

func (s *Summary) writeSurveys(table io.Writer) {
	for _, outcome := range byCount(s.SurveyOutcomes) {
		fmt.Fprintf(table, "  %s\t%d\t%s\n", outcome.Status, s.SurveyOutcomes[outcome], outcome.Reason)
	}
	if scores := s.Scores; scores != nil {
		fmt.Fprintf(table, "scores\n  response rate\t%s\n", scores.ResponseRate)
		for _, score := range []struct {
			name  string
			value *string
		}{{"average", scores.Average}, {"CSAT", scores.Csat}, {"top box", scores.TopBox}, {"NPS", scores.Nps}} {
			if score.value != nil {
				fmt.Fprintf(table, "  %s\t%s\n", score.name, *score.value)
			}
		}
	}
	if s.SurveyToOpen != "" {
		fmt.Fprintf(table, "to answer one yourself\t%s%s\n", strings.TrimSuffix(s.URL, "/"), s.SurveyToOpen)
	}
}

func (s *Summary) writeActions(table io.Writer) {
	if len(s.Actions) > 0 {
		fmt.Fprintf(table, "\nactions\t%d\n", total(s.Actions))
		for _, status := range byCount(s.Actions) {
			fmt.Fprintf(table, "  %s\t%d\n", status, s.Actions[status])
		}
		fmt.Fprintf(table, "  of them breached\t%d\n", s.Breached)
	}
	if len(s.Webhooks) > 0 {
		fmt.Fprintf(table, "webhooks verified\t%d\n", total(s.Webhooks))
		for _, kind := range byCount(s.Webhooks) {
			fmt.Fprintf(table, "  %s\t%d\n", kind, s.Webhooks[kind])
		}
	}
	if s.WrongWebhooks > 0 {
		fmt.Fprintf(table, "webhooks refused\t%d\n", s.WrongWebhooks)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// perSecond is blank if nothing was done.
func perSecond(verb string, count int, d time.Duration) string {
	if count == 0 || d <= 0 {
		return ""
	}
	return fmt.Sprintf("%.0f events %s per second", float64(count)/d.Seconds(), verb)
}

func total[K comparable](counts map[K]int) int {
	sum := 0
	for _, count := range counts {
		sum += count
	}
	return sum
}

// byCount returns the keys, highest count first.
func byCount[K comparable](counts map[K]int) []K {
	return slices.SortedFunc(maps.Keys(counts), func(a, b K) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
}
