package tests

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/getkin/kin-openapi/openapi3"

	"github.com/px360/px360/openapi"
	"github.com/px360/px360/server/auth"

	"github.com/px360/px360/server/limits"
)

func TestDocsSchemaContentNegotiation(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const inYAML, inJSON = "application/vnd.oai.openapi; charset=utf-8", "application/vnd.oai.openapi+json"
	for _, test := range []struct{ query, accept, contentType string }{
		{"", "", inYAML},
		{"", "*/*", inYAML},
		{"", "application/*", inYAML},
		{"", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", inYAML},
		{"", "application/vnd.oai.openapi", inYAML},
		{"", "application/yaml", "application/yaml; charset=utf-8"},
		{"", "text/yaml", "text/yaml; charset=utf-8"},
		{"", "text/*", "text/yaml; charset=utf-8"},
		{"", inJSON, inJSON},
		{"", "application/json", "application/json"},
		{"", "application/json, */*", "application/json"},
		{"", "Application/JSON;q=0.4, text/yaml;q=0.5", "text/yaml; charset=utf-8"},
		{"", "application/json;q=0, */*", inYAML},
		{"?format=yaml", "", inYAML},
		{"?format=json", "", inJSON},
		{"?format=json", "text/html,*/*;q=0.1", inJSON},
		{"?format=json", "application/json", "application/json"},
	} {
		header := []string{"Accept", test.accept}
		if test.accept == "" {
			header = nil
		}
		a := s.send("GET", "/api/schema/"+test.query, "", nil, header...)
		if a.status != http.StatusOK || a.header.Get("Content-Type") != test.contentType {
			t.Errorf("%s with Accept %q: %d %s, want %s", test.query, test.accept, a.status, a.header.Get("Content-Type"), test.contentType)
		}
		if isJSON := strings.HasPrefix(a.body, "{"); isJSON != strings.Contains(test.contentType, "json") {
			t.Errorf("%s with Accept %q: %s, but %.40q", test.query, test.accept, test.contentType, a.body)
		}
	}
	for _, test := range []struct {
		query, accept string
		status        int
	}{
		{"", "text/html", http.StatusNotAcceptable},
		{"", "*/*;q=0", http.StatusNotAcceptable},
		{"?format=json", "text/yaml", http.StatusNotAcceptable},
		{"?format=xml", "*/*", http.StatusNotFound},
	} {
		if a := s.send("GET", "/api/schema/"+test.query, "", nil, "Accept", test.accept); a.status != test.status || a.json()["detail"] == nil {
			t.Errorf("%s with Accept %q: %d %s, want %d", test.query, test.accept, a.status, a.body, test.status)
		}
	}
}

func TestDocsSchemaIsTheContractWithItsPolicy(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	inYAML := loadSchema(t, s.send("GET", "/api/schema/", "", nil).body)
	served := loadSchema(t, s.send("GET", "/api/schema/?format=json", "", nil).body)
	if !reflect.DeepEqual(plainValue(t, inYAML), plainValue(t, served)) {
		t.Error("the schemas in YAML and JSON differ")
	}
	policy, err := auth.NewPolicy(auth.EventSendersAny)
	must(t, err)
	for _, rule := range policy {
		if row := fmt.Sprintf("| `%s` | %s | %s |", rule.Permission, rule.Who(), rule.Meaning); !strings.Contains(served.Info.Description, row) {
			t.Errorf("the description has no row %s", row)
		}
	}
	contract, err := openapi.Load()
	must(t, err)
	line := regexp.MustCompile("Permission: `[a-z.]+` — [^.]+\\. Rate limit: (none|`[a-z]+` \\(\\d+/[mh] by [a-z ]+\\))\\.$")
	for path, item := range contract.Paths.Map() {
		for method, operation := range item.Operations() {
			o := served.Paths.Value(path).GetOperation(method)
			switch {
			case o == nil || o.OperationID != operation.OperationID:
				t.Errorf("%s %s is not in the schema", method, path)
			case !strings.HasPrefix(o.Description, operation.Description), !line.MatchString(o.Description):
				t.Errorf("%s: %q", o.OperationID, o.Description)
			case !strings.Contains(o.Description, fmt.Sprintf("`%s`", operation.Extensions["x-px360-permission"])):
				t.Errorf("%s names another permission: %q", o.OperationID, o.Description)
			default:
				o.Description = operation.Description // only descriptions may differ
			}
		}
	}
	served.Info.Description = contract.Info.Description
	if !reflect.DeepEqual(plainValue(t, served), plainValue(t, contract)) {
		t.Error("the schema differs from the contract in more than descriptions")
	}
}

func loadSchema(t *testing.T, text string) *openapi3.T {
	t.Helper()
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData([]byte(text))
	must(t, err)
	must(t, doc.Validate(loader.Context, openapi3.EnableExamplesValidation()))
	return doc
}

func plainValue(t *testing.T, doc *openapi3.T) any {
	t.Helper()
	text, err := doc.MarshalJSON()
	must(t, err)
	var value any
	must(t, json.Unmarshal(text, &value))
	return value
}

// docPaths are the paths of the schema, of the pages, and of the assets that the pages load.
func docPaths(t *testing.T, s *system) []string {
	t.Helper()
	paths := []string{"/api/schema/", "/api/schema/?format=json"}
	for _, page := range []string{"/api/docs/", "/api/redoc/"} {
		paths = append(paths, page)
		for _, reference := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(s.send("GET", page, "", nil).body, -1) {
			paths = append(paths, reference[1])
		}
	}
	return paths
}

func TestDocsCachingAndCompression(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, path := range docPaths(t, s) {
		compressed := s.send("GET", path, "", nil, "Accept-Encoding", "gzip")
		plain := s.send("GET", path, "", nil, "Accept-Encoding", "identity")
		if compressed.header.Get("Content-Encoding") != "gzip" || plain.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %q where gzip was asked for, %q where it was not", path, compressed.header.Get("Content-Encoding"), plain.header.Get("Content-Encoding"))
			continue
		}
		r, err := gzip.NewReader(strings.NewReader(compressed.body))
		must(t, err)
		decompressed, err := io.ReadAll(r)
		must(t, err)
		if !bytes.Equal(decompressed, []byte(plain.body)) {
			t.Errorf("%s: the gzip content differs", path)
		}
		for encoding, a := range map[string]answer{"gzip": compressed, "identity": plain} {
			if a.header.Get("ETag") == "" || a.header.Get("Content-Length") != fmt.Sprint(len(a.body)) {
				t.Errorf("%s %s: ETag %q, length %s of %d", path, encoding, a.header.Get("ETag"), a.header.Get("Content-Length"), len(a.body))
			}
			again := s.send("GET", path, "", nil, "Accept-Encoding", encoding, "If-None-Match", a.header.Get("ETag"))
			if again.status != http.StatusNotModified || again.body != "" {
				t.Errorf("%s %s again: %d with %d bytes", path, encoding, again.status, len(again.body))
			}
		}
		if compressed.header.Get("ETag") == plain.header.Get("ETag") {
			t.Errorf("%s: one ETag for two encodings", path)
		}
		cache := "public, no-cache"
		if strings.Contains(path, "?v=") {
			cache = "public, max-age=31536000, immutable"
			if other := s.send("GET", path+"0", "", nil); other.status != http.StatusOK || strings.Contains(other.header.Get("Cache-Control"), "immutable") {
				t.Errorf("%s of another version: %d %s", path, other.status, other.header.Get("Cache-Control"))
			}
		}
		if got := plain.header.Get("Cache-Control"); got != cache {
			t.Errorf("%s: Cache-Control %q, want %q", path, got, cache)
		}
	}
}

func TestDocsHeadersAndMethods(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, path := range docPaths(t, s) {
		get, head := s.send("GET", path, "", nil, "Accept-Encoding", "gzip"), s.send("HEAD", path, "", nil, "Accept-Encoding", "gzip")
		if head.status != http.StatusOK || head.body != "" || head.header.Get("ETag") != get.header.Get("ETag") {
			t.Errorf("HEAD %s: %d with %d bytes", path, head.status, len(head.body))
		}
		policy := get.header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the policy has no %s: %s", path, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
			t.Errorf("%s: policy %s", path, policy)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"} {
			if got := get.header.Get(name); got != want {
				t.Errorf("%s: %s %q, want %q", path, name, got, want)
			}
		}
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "TRACE", "ODD"} {
			a := s.send(method, path, "", nil)
			if a.status != http.StatusMethodNotAllowed || a.json()["detail"] != `Method "`+method+`" not allowed.` || a.header.Get("Allow") != "GET, HEAD, OPTIONS" {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
			}
		}
		if a := s.send("OPTIONS", path, "", nil); a.status != http.StatusNoContent || a.header.Get("Allow") != "GET, HEAD, OPTIONS" {
			t.Errorf("OPTIONS %s: %d %s", path, a.status, a.header.Get("Allow"))
		}
	}
	for _, page := range []string{"/api/docs", "/api/docs/", "/api/redoc", "/api/redoc/"} {
		a := s.send("GET", page, "", nil, "Accept", "text/html")
		if a.status != http.StatusOK || a.header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(a.body, `name="viewport"`) {
			t.Errorf("%s: %d %s", page, a.status, a.header.Get("Content-Type"))
		}
		if strings.Contains(a.body, "://") || regexp.MustCompile(`<style|<script[^>]*>[^<]|style=|="//`).MatchString(a.body) {
			t.Errorf("%s has inline code or refers to another host:\n%s", page, a.body)
		}
	}
	for _, path := range []string{"/api/docs/assets/", "/api/docs/assets/swagger.html", "/api/docs/assets/..%2Fopenapi.yaml", "/api/docs/other/"} {
		if a := s.send("GET", path, "", nil); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

func TestDocsSwaggerInBrowser(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBrowser(t, s.url)
	operations := everyOperation(t)
	b.do("show every operation",
		chromedp.Navigate(s.url+"/api/docs/"),
		chromedp.WaitVisible(chromedp.CSS(".opblock-tag")),
		chromedp.Evaluate[chromedp.Void](`document.querySelectorAll(".opblock-tag[data-is-open=false]").forEach(tag => tag.click())`),
		chromedp.Poll[chromedp.Void](fmt.Sprintf(`document.querySelectorAll(".opblock").length === %d`, len(operations)), untilDeadline),
	)
	b.do("authorize",
		chromedp.Click(chromedp.CSS(".auth-wrapper .btn.authorize")),
		chromedp.SendKeys(chromedp.CSS("#auth-bearer-value"), s.token(adminName, adminPassword)),
		chromedp.Click(chromedp.CSS(".auth-container:has(#auth-bearer-value) .btn.authorize")),
		chromedp.WaitVisible(chromedp.CSS(".auth-container .btn.modal-btn:not(.authorize)")), // to log out
		chromedp.Click(chromedp.CSS(".btn-done")),
	)
	const me = "#operations-Users-retrieveMe "
	b.do("try it out",
		chromedp.Click(chromedp.CSS(me+".opblock-summary-control")),
		chromedp.Click(chromedp.CSS(me+".try-out__btn")),
		chromedp.Click(chromedp.CSS(me+".execute")),
	)
	response := b.text("read the response", me+".live-responses-table .response")
	if !strings.HasPrefix(strings.TrimSpace(response), "200") || !strings.Contains(response, `"username": "`+adminName+`"`) {
		t.Errorf("retrieveMe in the page: %s", response)
	}
	b.do("follow a deep link",
		chromedp.Navigate(s.url+"/api/docs/?again#/Patients/createPatient"),
		chromedp.WaitVisible(chromedp.CSS("#operations-Patients-createPatient .opblock-body")),
	)
	b.done()
}

func TestDocsRedocInBrowser(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBrowser(t, s.url)
	b.do("open", chromedp.Navigate(s.url+"/api/redoc/"), chromedp.WaitVisible(chromedp.CSS(".api-content h1")))
	for _, operation := range everyOperation(t) {
		// The heading of the operation's own section, since several operations have the same
		// summary.
		b.do("show "+operation.OperationID, chromedp.Poll[chromedp.Void](
			fmt.Sprintf(`document.querySelector('[id$="/operation/%s"] h2')?.textContent.includes(%q)`, operation.OperationID, operation.Summary), untilDeadline))
	}
	b.do("search", chromedp.SendKeys(chromedp.CSS(`[role="search"] input`), "Reprocess"))
	if found := b.text("see what was found", `[data-role="search:results"]`); !strings.Contains(found, "eprocess") {
		t.Errorf("searching found %q", found)
	}
	b.done()
}

func everyOperation(t *testing.T) []*openapi3.Operation {
	t.Helper()
	contract, err := openapi.Load()
	must(t, err)
	var operations []*openapi3.Operation
	for _, item := range contract.Paths.Map() {
		for _, operation := range item.Operations() {
			operations = append(operations, operation)
		}
	}
	return operations
}

// untilDeadline removes the timeout of a poll, so that only the timeout of the step applies: ReDoc
// takes seconds to render the contract, and longer on a busy machine.
var untilDeadline = chromedp.WithPollingTimeout(0)

const stepTimeout = 2 * time.Minute

// A browser is a Chromium with one open page. It records the errors of the page and its requests to
// other hosts.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string
}

// openBrowser starts a browser whose page may send requests to origin only.
func openBrowser(t *testing.T, origin string) *browser {
	t.Helper()
	program := browserProgram(t)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()), chromedp.Env("TMPDIR="+t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1280, 900))...)
	ctx, closePage := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		closePage()
		stop() // returns when the browser is gone
	})
	b := &browser{t: t, ctx: ctx}
	must(t, chromedp.Listen(ctx, func(event any) { b.watch(event, strings.TrimPrefix(origin, "http://")) }))
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	must(t, err)
	_, err = chromedp.Call(ctx, audits.Enable, cdp.Empty{})
	must(t, err)
	return b
}

// browserProgram is the path of a Chromium or Chrome; `make test` downloads one if none is installed.
func browserProgram(t *testing.T) string {
	t.Helper()
	if program := os.Getenv("PX360_TEST_BROWSER"); program != "" {
		return program
	}
	program, err := exec.Command("./browser.sh", "find").Output()
	if err != nil {
		t.Fatalf("no browser for the documentation tests (%v): run `make test`, which downloads one", err)
	}
	return strings.TrimSpace(string(program))
}

// watch records requests to other hosts, console errors and violations of the
// Content-Security-Policy.
func (b *browser) watch(event any, host string) {
	var problem string
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil || u.Host != host && u.Scheme != "data" && u.Scheme != "blob" {
			problem = "request to " + e.Request.URL
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			problem = fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			text, _ := json.Marshal(e.Args)
			problem = "console error: " + string(text)
		}
	case *runtime.EventExceptionThrown:
		text, _ := json.Marshal(e.ExceptionDetails)
		problem = "exception: " + string(text)
	case *audits.EventIssueAdded:
		if violation := e.Issue.Details.ContentSecurityPolicyIssueDetails; violation != nil {
			text, _ := json.Marshal(violation)
			problem = "policy: " + string(text)
		}
	}
	if problem != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.problems = append(b.problems, problem)
	}
}

// do runs the actions of a step, with a timeout.
func (b *browser) do(step string, actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.done()
		b.t.Fatalf("%s: %v", step, err)
	}
}

// text waits for an element and returns its text.
func (b *browser) text(step, selector string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS(selector)))
	if err != nil {
		b.done()
		b.t.Fatalf("%s: %v", step, err)
	}
	return text
}

// done fails the test for each recorded problem of the page.
func (b *browser) done() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, text := range b.problems {
		b.t.Error(text)
	}
}

// The documentation shows the configured rate limits, not the defaults.
func TestDocsShowConfiguredLimits(t *testing.T) {
	t.Parallel()
	s := startServer(t, withLimits(limits.Limits{User: perMinute(4321)}))
	schema := s.send("GET", "/api/schema/?format=json", "", nil)
	if !strings.Contains(schema.body, "`user` (4321/m by user)") {
		t.Error("the schema does not show the configured limit by user")
	}
}
