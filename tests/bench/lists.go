package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/valyala/fasthttp"

	"github.com/px360/px360/openapi"
)

// A listing is one question of the sweep and how long its answers took.
type listing struct {
	who, path, query string
	usual            bool // what people ask most: the first page, with one filter or a search of three letters or more
	first, median    time.Duration
	status           int
}

// Questions that the contract does not tell: values that few rows have, and what people search for.
var (
	rareValues = map[string][]string{
		"listEvents event_code": {"RARE_CODE"}, "listEvents reason": {"rare", "no_stage"}, "listEvents encounter_id": {"ENC-4711"}, "listEvents source_system": {"his", "pharmacy"},
		"listPatients city": {"Riyadh", "Najran"}, "listPatients mrn": {"MRN-4711"}, "listPatients national_id": {"1000004711"}, "listPatients phone": {"+966510004711"},
		"listJourneyInstances encounter_id": {"ENC-4711"},
	}
	// A common word, a rare one, two words, Arabic, two letters, a number of each kind.
	searches = map[string][]string{
		"listPatients":         {"Mohammed", "Quetzal", "Quetzal Harbi", "محمد", "العتيبي سارة", "al", "zq", "MRN-4711", "+966510004711", "nothing"},
		"listJourneyInstances": {"ENC-4711", "Mohammed", "Quetzal", "محمد", "al", "zq", "MRN-4711", "nothing"},
		"listActions":          {"visit", "4711", "low 4711", "محمد", "sc", "zq", "nothing"},
	}
	alsoAsked = map[string][]string{
		"listEvents":   {"status=ignored&event_code=RARE_CODE", "status=processed&event_code=STAGE_1", "status=failed&ordering=received_at", "page=1000&page_size=100", "page=50000&page_size=100"},
		"listPatients": {"page=1000&page_size=100", "page=5000&page_size=100", "search=Mohammed&ordering=-created_at", "city=Najran&ordering=-created_at"},
	}
)

// sweepLists asks every list of the contract, on the large world: every filter with values that many rows have, few and
// none, every ordering both ways, searches, and the first, second and last page, by number and by cursor; as PX Admin and
// as a user of the largest and the smallest hospital.
func (b *bench) sweepLists() (sweep []listing, err error) {
	doc, err := openapi.Load()
	if err != nil {
		return nil, err
	}
	for _, path := range doc.Paths.InMatchingOrder() {
		operation := doc.Paths.Value(path).Get
		if operation == nil || operation.Parameters.GetByInAndName("query", "page_size") == nil || strings.Contains(path, "{") {
			continue
		}
		for who, caller := range b.callers {
			questions, err := caller.questions(path, operation)
			if err != nil {
				return nil, err
			}
			progress("large world: %d questions to %s as %s", len(questions), path, who)
			for _, q := range questions {
				q.who = who
				if err := caller.ask(&q, b.rounds); err != nil {
					return nil, err
				}
				sweep = append(sweep, q)
			}
		}
	}
	return sweep, nil
}

const worldAdmin = "PX Admin"

// worldUsers are the callers by name, made when they are first needed.
func (b *bench) worldUsers(base string) (map[string]*api, error) {
	admin := &api{url: base, http: &fasthttp.Client{}}
	var err error
	if admin.token, err = admin.logIn("admin"); err != nil {
		create := exec.CommandContext(b.ctx, b.binary, "user", "create-admin", "admin")
		create.Env = append(os.Environ(), "PX360_DATABASE_URL="+b.pg.URL(b.database), "PX360_SECRET_KEY="+secretKey)
		create.Stdin = strings.NewReader(password + "\n")
		if text, err := create.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, text)
		}
		if admin.token, err = admin.logIn("admin"); err != nil {
			return nil, err
		}
	}
	callers := map[string]*api{worldAdmin: admin}
	for name, code := range map[string]string{"largest": "H1", "smallest": "H20"} {
		var hospital, role string
		if err := b.product.QueryRow(b.ctx, "SELECT h.id, r.id FROM hospitals h, roles r WHERE h.code = $1 AND r.name = 'Hospital Admin'", code).Scan(&hospital, &role); err != nil {
			return nil, err
		}
		token, err := admin.logIn(name)
		if err != nil {
			_, err = admin.create("/api/auth/users/", object{"username": name, "email": name + "@example.com", "password": password, "password_confirm": password, "hospital": hospital, "groups": []string{role}})
			if err != nil {
				return nil, err
			}
			if token, err = admin.logIn(name); err != nil {
				return nil, err
			}
		}
		callers[name] = admin.as(base, token)
	}
	return callers, nil
}

// questions are those of a list; none if the caller may not read it.
func (a *api) questions(path string, operation *openapi3.Operation) (list []listing, err error) {
	var all struct {
		Count   int
		Results []map[string]any
	}
	if err := a.call("GET", path+"?page_size=100", nil, &all); err != nil {
		if strings.Contains(err.Error(), ": 403 ") {
			err = nil
		}
		return nil, err
	}
	add := func(usual bool, query string) { list = append(list, listing{path: path, query: query, usual: usual}) }
	add(true, "")
	add(true, "page_size=100")
	if all.Count > 20 {
		add(false, "page=2")
	}
	if last := (all.Count + 99) / 100; last > 1 {
		add(false, fmt.Sprint("page_size=100&page=", last))
	}
	var cursor struct{ Next *string }
	if err := a.call("GET", path+"?cursor=", nil, &cursor); err != nil {
		return nil, err
	}
	add(true, "cursor=")
	if cursor.Next != nil {
		next, err := url.Parse(*cursor.Next)
		if err != nil {
			return nil, err
		}
		add(true, next.RawQuery)
	}
	for _, query := range alsoAsked[operation.OperationID] {
		add(false, query)
	}
	for _, ref := range operation.Parameters {
		p := ref.Value
		switch p.Name {
		case "page", "page_size", "cursor":
		case "ordering":
			for _, term := range p.Schema.Value.Items.Value.Enum {
				add(false, "ordering="+fmt.Sprint(term))
				if all.Count > 20 {
					add(false, "page=2&ordering="+fmt.Sprint(term))
				}
			}
		case "search":
			for _, text := range append([]string{}, searches[operation.OperationID]...) {
				add(len(text) > 2, "search="+url.QueryEscape(text))
			}
		default:
			if p.In != "query" {
				continue
			}
			for _, text := range filterValues(operation.OperationID, p, all.Results) {
				add(true, p.Name+"="+url.QueryEscape(text))
			}
		}
	}
	return list, nil
}

// filterValues are values that rows have, all of an enum, and for texts one that no row has.
func filterValues(operation string, p *openapi3.Parameter, rows []map[string]any) (values []string) {
	schema := p.Schema.Value
	values = append(values, rareValues[operation+" "+p.Name]...)
	switch {
	case schema.Type.Is("boolean"):
		return []string{"true", "false"}
	case len(schema.Enum) > 0:
		for _, value := range schema.Enum {
			values = append(values, fmt.Sprint(value))
		}
		return values
	case schema.Format == "date-time":
		return []string{"2016-02-01T00:00:00Z", "2021-01-01T00:00:00Z", "2025-12-01T00:00:00Z", "2099-01-01T00:00:00Z"}
	}
	for _, row := range rows {
		text, isText := row[p.Name].(string)
		if isText && text != "" && !slices.Contains(values, text) && len(values) < 4 {
			values = append(values, text)
		}
	}
	if schema.Format == "" {
		values = append(values, "nothing")
	}
	return values
}

// ask asks once as if for the first time in a while, and then some times more.
func (a *api) ask(l *listing, times int) error {
	var took []time.Duration
	for range 1 + times {
		req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		req.SetRequestURI(a.url + l.path + "?" + l.query)
		req.Header.Set("Authorization", "Bearer "+a.token)
		start := time.Now()
		err := a.http.Do(req, res)
		took = append(took, time.Since(start))
		l.status = res.StatusCode()
		if err == nil && l.status >= 500 && l.status != 503 {
			err = fmt.Errorf("%s?%s: %d %s", l.path, l.query, l.status, res.Body())
		}
		fasthttp.ReleaseRequest(req)
		fasthttp.ReleaseResponse(res)
		if err != nil {
			return err
		}
	}
	l.first = took[0]
	slices.Sort(took[1:])
	l.median = took[1:][times/2]
	return nil
}

// printSweep prints the slowest twenty.
func printSweep(out io.Writer, sweep []listing) {
	if len(sweep) == 0 {
		return
	}
	slices.SortFunc(sweep, func(x, y listing) int { return int(y.median - x.median) })
	milliseconds := func(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1000) }
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nslowest lists\tas\tms\tasked first, ms\t\n")
	for _, l := range sweep[:min(20, len(sweep))] {
		note := ""
		if l.status != 200 {
			note = fmt.Sprint("  answered with ", l.status)
		}
		text, err := url.QueryUnescape(l.query)
		if err != nil || len(text) > 70 {
			text = l.query[:min(70, len(l.query))]
		}
		fmt.Fprintf(w, "%s?%s\t%s\t%s\t%s\t%s\n", l.path, text, l.who, milliseconds(l.median), milliseconds(l.first), note)
	}
	w.Flush()
	var usual, slowUsual, slow, refused int
	for _, l := range sweep {
		usual += one(l.usual)
		slowUsual += one(l.usual && l.median > 20*time.Millisecond)
		slow += one(l.median > 100*time.Millisecond)
		refused += one(l.status == 503)
	}
	fmt.Fprintf(out, "\n%d questions to the lists of the large world: median %s ms, %d above 100 ms, of which %d were given up after 2 s; of the %d usual ones %d above 20 ms\n",
		len(sweep), milliseconds(sweep[len(sweep)/2].median), slow, refused, usual, slowUsual)
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}
