package main

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/uuid"

	"github.com/px360/px360/queries/rules"
)

// A mailSink is an SMTP server that takes everything and keeps nothing.
type mailSink struct{}

func (mailSink) NewSession(*smtp.Conn) (smtp.Session, error) { return mailSink{}, nil }
func (mailSink) Reset()                                      {}
func (mailSink) Logout() error                               { return nil }
func (mailSink) Mail(string, *smtp.MailOptions) error        { return nil }
func (mailSink) Rcpt(string, *smtp.RcptOptions) error        { return nil }
func (mailSink) Data(r io.Reader) error                      { _, err := io.Copy(io.Discard, r); return err }

// startMailSink runs the server until the process ends, and returns the settings that lead to it.
func startMailSink() ([]string, error) {
	server := smtp.NewServer(mailSink{})
	server.Domain = "localhost"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() { _ = server.Serve(listener) }()
	return []string{"PX360_SMTP_URL=smtp://" + listener.Addr().String() + "?starttls=off", "PX360_EMAIL_FROM=px@hospital.example"}, nil
}

// A surveyFigure is a line about surveys, one value a round.
type surveyFigure struct {
	name, unit string
	measure    func(*bench) (float64, error)
	values     []float64
}

func surveyFigures() []*surveyFigure {
	return []*surveyFigure{
		{name: "surveys: event drain, of that without", unit: "%", measure: drainWithSurveys},
		{name: "surveys: decided and sent by email", unit: "/s", measure: sendSurveys},
		{name: "surveys: page at 200 requests/s, p99", unit: "ms", measure: openPages},
		{name: "surveys: scores by every group, p99", unit: "ms", measure: readScores},
	}
}

func (b *bench) printSurveys(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w)
	for _, f := range b.surveys {
		if len(f.values) > 0 {
			fmt.Fprintf(w, "%s\t%.1f\t %s\n", f.name, median(f.values), f.unit)
		}
	}
	w.Flush()
	fmt.Fprintf(out, "\nscores over %d surveys\n", b.scored)
}

// drainWithSurveys applies the same events with a survey for each journey and with none.
func drainWithSurveys(b *bench) (float64, error) {
	return b.drainInTurns(func(bool) error { return nil })
}

// drainInTurns applies the same events with a survey for each journey, and what else is prepared, and without, in turns, as
// one drain is short. It returns the rate with, of that without.
func (b *bench) drainInTurns(prepare func(with bool) error) (float64, error) {
	rates := map[bool][]float64{}
	for turn := range 6 {
		sends := turn%2 == 1
		if _, err := b.product.Exec(b.ctx, "UPDATE stage_instances SET auto_send_survey = $1 WHERE survey_template_id IS NOT NULL AND code = $2", sends, codes[0]); err != nil {
			return 0, err
		}
		if err := prepare(sends); err != nil {
			return 0, err
		}
		rate, err := drain(b)
		if err != nil {
			return 0, err
		}
		rates[sends] = append(rates[sends], rate)
		var scheduled int
		if err := b.product.QueryRow(b.ctx, "SELECT count(*) FROM surveys").Scan(&scheduled); err != nil {
			return 0, err
		}
		if want := map[bool]int{true: len(b.api.journeys)}[sends]; scheduled != want {
			return 0, fmt.Errorf("%d surveys were scheduled, want %d", scheduled, want)
		}
	}
	return 100 * median(rates[true]) / median(rates[false]), nil
}

// sendSurveys makes a survey of each journey due at once, and measures until the last email was taken.
func sendSurveys(b *bench) (float64, error) {
	for _, statement := range []string{
		"TRUNCATE surveys CASCADE",
		"UPDATE hospitals SET quiet_hours_start = '00:00', quiet_hours_end = '00:00', channels = '{email}'",
		"UPDATE patients SET email = lower(mrn) || '@patients.example' WHERE email = ''",
		`INSERT INTO surveys (id, hospital_id, survey_template_id, journey_instance_id, stage_instance_id, due_at)
			SELECT uuid7(), s.hospital_id, s.survey_template_id, s.journey_instance_id, s.id, now()
			FROM stage_instances s WHERE s.survey_template_id IS NOT NULL AND s.code = 'OPD_VISIT_COMPLETED'`,
		"UPDATE stage_instances SET status = 'completed', completed_at = now()",
	} {
		if _, err := b.product.Exec(b.ctx, statement); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	for {
		var left int
		if err := b.product.QueryRow(b.ctx, "SELECT count(*) FROM surveys WHERE status <> 'sent'").Scan(&left); err != nil {
			return 0, err
		}
		if left == 0 {
			break
		}
		if time.Since(start) > 2*time.Minute {
			return 0, fmt.Errorf("%d surveys are still not sent", left)
		}
		if err := pause(b.ctx, 20*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return float64(len(b.api.journeys)) / time.Since(start).Seconds(), nil
}

// openPages opens the pages of sent surveys at a steady rate.
func openPages(b *bench) (float64, error) {
	rows, err := b.product.Query(b.ctx, "SELECT id FROM surveys WHERE status <> 'pending' LIMIT 1000")
	if err != nil {
		return 0, err
	}
	var paths []string
	for rows.Next() {
		var id uuid.UUID
		if err := rows.Scan(&id); err != nil {
			return 0, err
		}
		paths = append(paths, "/s/"+rules.NewLinkToken([]byte(secretKey), id))
	}
	if err := rows.Err(); err != nil || len(paths) == 0 {
		return 0, fmt.Errorf("%d surveys to open: %w", len(paths), err)
	}
	const perSecond = 200
	ticks := time.NewTicker(time.Second / perSecond)
	defer ticks.Stop()
	var wait sync.WaitGroup
	var mu sync.Mutex
	var took []float64
	var failed error
	for i := range int(max(b.seconds, 1) * perSecond) {
		<-ticks.C
		began := time.Now() // with the wait for a connection, as a patient has it
		wait.Go(func() {
			err := b.api.call("GET", paths[i%len(paths)], nil, nil)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, float64(time.Since(began).Microseconds())/1000)
			if err != nil {
				failed = err
			}
		})
	}
	wait.Wait()
	return percentile(took, 0.99), failed
}

func percentile(values []float64, share float64) float64 {
	slices.Sort(values)
	return values[min(len(values)-1, int(share*float64(len(values))))]
}

// fillScores inserts answered surveys of two years, without the rows that they would refer to.
func (b *bench) fillScores() error {
	progress("answered surveys of two years: %d", b.scored)
	conn, err := b.product.Acquire(b.ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	for _, statement := range []string{
		"SET session_replication_role = replica",
		"SET statement_timeout = 0",
		fmt.Sprintf(`INSERT INTO survey_sections (survey_id, position, survey_template_id, version, hospital_id, journey_type, department_id, physician_id,
				stage_template_id, sent_at, sent_on, completed, promoters, passives, detractors, rated, satisfied, scored, top, score)
			SELECT uuid7(), 1, t.id, 1, t.hospital_id, (ARRAY['ems', 'opd', 'inpatient'])[1 + i %% 3], md5((i %% 12)::text)::uuid, md5('p' || i %% 400)::uuid,
				md5('s' || i %% 20)::uuid, now() - i * interval '730 days' / %d, current_date - (i * 730::bigint / %d)::integer, i %% 3 > 0, (i %% 3 = 1)::int, 0, (i %% 3 = 2)::int, 2, i %% 2, 3, i %% 3, 900
			FROM generate_series(1, %d) i, (SELECT id, hospital_id FROM survey_templates LIMIT 1) t`, b.scored, b.scored, b.scored),
		"SET session_replication_role = origin",
		"RESET statement_timeout",
		"VACUUM ANALYZE survey_sections",
	} {
		if _, err := conn.Exec(b.ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func readScores(b *bench) (float64, error) {
	var rows int
	if err := b.product.QueryRow(b.ctx, "SELECT count(*) FROM survey_sections").Scan(&rows); err != nil {
		return 0, err
	}
	if rows < b.scored {
		if err := b.fillScores(); err != nil {
			return 0, err
		}
	}
	now := time.Now().UTC()
	span := "&from=" + now.AddDate(0, 0, -729).Format("2006-01-02") + "&to=" + now.AddDate(0, 0, 1).Format("2006-01-02")
	var took []float64
	for range 15 {
		for _, by := range strings.Fields("hospital department physician stage_template survey_template journey_type day month") {
			began := time.Now()
			var answer struct{ Results []struct{ Sent int } }
			if err := b.api.call("GET", "/api/surveys/scores/?group_by="+by+span, nil, &answer); err != nil {
				return 0, err
			}
			took = append(took, float64(time.Since(began).Microseconds())/1000)
			if len(answer.Results) == 0 {
				return 0, fmt.Errorf("no scores by %s", by)
			}
		}
	}
	return percentile(took, 0.99), nil
}
