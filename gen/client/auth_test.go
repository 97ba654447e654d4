package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// issuer is a server that hands out tokens and says who asks for /api/auth/users/me/.
type issuer struct {
	mu        sync.Mutex
	password  string
	refresh   string
	good      string // the access token that is accepted
	life      time.Duration
	logins    int
	refreshes int
	made      int
	loses     bool          // whether the answer to a refresh is lost
	rotates   bool          // whether a refresh token is good once
	gate      chan struct{} // if set, a refresh waits for it
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body map[string]string
	_ = json.NewDecoder(r.Body).Decode(&body)
	w.Header().Set("Content-Type", "application/json")
	if strings.HasSuffix(r.URL.Path, "/token/refresh/") && i.gate != nil {
		<-i.gate
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	no := func(detail string) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"detail": %q}`, detail)
	}
	switch r.URL.Path {
	case "/api/auth/token/":
		i.logins++
		if body["password"] != i.password {
			no("No active account found with the given credentials")
			return
		}
		i.made++
		i.refresh = fmt.Sprintf("refresh-%d", i.made)
		fmt.Fprintf(w, `{"access": %q, "refresh": %q}`, i.issue(), i.refresh)
	case "/api/auth/token/refresh/":
		i.refreshes++
		if i.loses {
			panic(http.ErrAbortHandler)
		}
		if body["refresh"] != i.refresh {
			no("Token is expired")
			return
		}
		if i.rotates {
			i.refresh = fmt.Sprintf("refresh-%d", i.made+1)
			fmt.Fprintf(w, `{"access": %q, "refresh": %q}`, i.issue(), i.refresh)
			return
		}
		fmt.Fprintf(w, `{"access": %q}`, i.issue())
	default:
		if r.Header.Get("Authorization") != "Bearer "+i.good {
			no("Given token not valid for any token type")
			return
		}
		fmt.Fprint(w, `{"username": "admin"}`)
	}
}

// issue makes the token that is good from now on. Its clock is years away from the client's.
func (i *issuer) issue() string {
	i.made++
	issued := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	claims := fmt.Sprintf(`{"jti": "%d", "iat": %d, "exp": %d}`, i.made, issued, issued+int64(i.life/time.Second))
	i.good = "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	return i.good
}

func (i *issuer) counts() (logins, refreshes int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.logins, i.refreshes
}

func (i *issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

// tokenPath begins the paths that are open to everybody.
const tokenPath = "/api/auth/token/"

// connected returns a client of a new issuer that has logged in, its clock being *now.
func connected(t *testing.T) (*issuer, *Client, *time.Time) {
	t.Helper()
	issuer := &issuer{password: "secret", life: 30 * time.Minute}
	server := httptest.NewServer(issuer)
	t.Cleanup(server.Close)
	api := newClient(t, server.URL, WithPassword("admin", "secret"))
	now := new(time.Time)
	*now = time.Now()
	api.session.now = func() time.Time { return *now }
	wantMe(t, api)
	return issuer, api, now
}

func newClient(t *testing.T, url string, options ...Option) *Client {
	t.Helper()
	api, err := New(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

func wantCounts(t *testing.T, i *issuer, logins, refreshes int) {
	t.Helper()
	if gotLogins, gotRefreshes := i.counts(); gotLogins != logins || gotRefreshes != refreshes {
		t.Errorf("%d logins and %d refreshes, want %d and %d", gotLogins, gotRefreshes, logins, refreshes)
	}
}

func wantMe(t *testing.T, api *Client) {
	t.Helper()
	if me, err := api.RetrieveMe(t.Context()); err != nil || me.Username != "admin" {
		t.Fatal(me, err)
	}
}

func TestLogsInOnce(t *testing.T) {
	t.Parallel()
	issuer, api, now := connected(t)
	wantMe(t, api)
	*now = now.Add(29 * time.Minute)
	wantMe(t, api)
	wantCounts(t, issuer, 1, 0)
}

func TestRefreshShortlyBeforeTheEnd(t *testing.T) {
	t.Parallel()
	issuer, api, now := connected(t)
	*now = now.Add(30*time.Minute - 20*time.Second)
	wantMe(t, api)
	wantMe(t, api)
	wantCounts(t, issuer, 1, 1)
}

func TestRefreshWhenRefused(t *testing.T) {
	t.Parallel()
	issuer, api, _ := connected(t)
	issuer.set(func() { issuer.good = "none yet" })
	wantMe(t, api)
	wantCounts(t, issuer, 1, 1)
}

func TestRefreshTokensThatRotate(t *testing.T) {
	t.Parallel()
	issuer, api, _ := connected(t)
	issuer.set(func() { issuer.rotates = true })
	for range 3 {
		issuer.set(func() { issuer.good = "none yet" })
		wantMe(t, api)
	}
	wantCounts(t, issuer, 1, 3)
}

func TestLoginWhenTheRefreshTokenIsUsedUp(t *testing.T) {
	t.Parallel()
	issuer, api, _ := connected(t)
	issuer.set(func() { issuer.good, issuer.refresh = "none yet", "another" })
	wantMe(t, api)
	wantCounts(t, issuer, 2, 1)
}

// A token that the server refuses for good must not make the client ask in circles.
func TestRefusedTwice(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasPrefix(r.URL.Path, tokenPath) {
			fmt.Fprint(w, `{"access": "a.b.c", "refresh": "d.e.f"}`)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"detail": "User is inactive", "code": "user_inactive"}`)
	}))
	defer server.Close()
	api := newClient(t, server.URL, WithPassword("admin", "secret"))
	_, err := api.RetrieveMe(t.Context())
	if failure, ok := asError[*Error](err); !ok || failure.Status != http.StatusUnauthorized || failure.Code != "user_inactive" {
		t.Errorf("got %v", err)
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	issuer := &issuer{password: "secret"}
	server := httptest.NewServer(issuer)
	defer server.Close()
	_, err := newClient(t, server.URL, WithPassword("admin", "wrong")).RetrieveMe(t.Context())
	failure, ok := asError[*Error](err)
	if !ok || failure.Status != http.StatusUnauthorized || !strings.HasPrefix(err.Error(), "log in as admin: ") {
		t.Errorf("got %v", err)
	}
}

// Once the password was refused it is not sent again: that would only use up the limit of logins.
func TestPasswordRefusedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	issuer, api, _ := connected(t)
	issuer.set(func() { issuer.good, issuer.refresh, issuer.password = "none yet", "another", "changed" })
	for range 3 {
		if _, err := api.RetrieveMe(t.Context()); err == nil {
			t.Error("a request went through")
		}
	}
	wantCounts(t, issuer, 2, 1)
}

func TestOneRefreshAtATime(t *testing.T) {
	t.Parallel()
	issuer, api, _ := connected(t)
	issuer.set(func() { issuer.good = "none yet" })
	issuer.gate = make(chan struct{})
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, err := api.RetrieveMe(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	close(issuer.gate)
	wait.Wait()
	wantCounts(t, issuer, 1, 1)
}

// Who waits for another's refresh can be interrupted, and an interrupted refresh leaves the turn free.
func TestInterruptedRefresh(t *testing.T) {
	t.Parallel()
	issuer, api, _ := connected(t)
	session := api.session
	session.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := api.RetrieveMe(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-session.turn
	session.renewAt = session.now()
	if _, err := api.RetrieveMe(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantMe(t, api)
	wantCounts(t, issuer, 1, 1)
}

func TestBodyIsSentAgain(t *testing.T) {
	t.Parallel()
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasPrefix(r.URL.Path, tokenPath) {
			fmt.Fprintf(w, `{"access": "token-%d", "refresh": "d.e.f"}`, len(bodies))
			return
		}
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
		if r.Header.Get("Authorization") == "Bearer token-0" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{}`)
			return
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{}`)
	}))
	defer server.Close()
	api := newClient(t, server.URL, WithPassword("admin", "secret"))
	if _, err := api.CreateHospital(t.Context(), HospitalCreate{Name: "A", Code: "B"}); err != nil {
		t.Fatal(err)
	}
	if len(bodies) != 2 || bodies[0] != bodies[1] || bodies[0] == "" {
		t.Errorf("sent %q", bodies)
	}
}

// Where refresh tokens rotate, to show one again that may be used up ends every token of the user: the client logs in.
func TestLostRefreshIsNotRepeated(t *testing.T) {
	t.Parallel()
	issuer, api, _ := connected(t)
	issuer.set(func() { issuer.good, issuer.loses = "none yet", true })
	wantMe(t, api)
	wantCounts(t, issuer, 2, 1)
}

func TestGivenTokenIsNotRenewed(t *testing.T) {
	t.Parallel()
	issuer := &issuer{life: time.Minute}
	server := httptest.NewServer(issuer)
	defer server.Close()
	api := newClient(t, server.URL, WithToken(issuer.issue()))
	wantMe(t, api)
	issuer.set(func() { issuer.good = "another" })
	_, err := api.RetrieveMe(t.Context())
	if failure, ok := asError[*Error](err); !ok || failure.Status != http.StatusUnauthorized {
		t.Errorf("got %v", err)
	}
	wantCounts(t, issuer, 0, 0)
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	var header http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		fmt.Fprint(w, `{}`)
	}))
	defer server.Close()
	api := newClient(t, server.URL, WithAPIKey("key"), WithUserAgent("his/7"))
	if _, err := api.CreateEvent(t.Context(), EventCreate{}, WithHeader("Traceparent", "00-1")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"X-Api-Key": "key", "Authorization": "", "User-Agent": "his/7", "Traceparent": "00-1", "Content-Type": "application/json",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("sent %s %q, want %q", name, got, want)
		}
	}
	if _, err := api.CreateToken(t.Context(), TokenRequest{}); err != nil || header.Get("X-API-Key") != "" {
		t.Errorf("a login sent %v: %v", header, err)
	}
}

// The key is for the configured host: a redirect does not carry it elsewhere, whatever HTTP client is used.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("followed to %s with key %q", r.URL, r.Header.Get("X-API-Key"))
	}))
	defer elsewhere.Close()
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL+"/there?secret=1", http.StatusPermanentRedirect))
	defer server.Close()
	for _, api := range []*Client{
		newClient(t, server.URL, WithAPIKey("key")), newClient(t, server.URL, WithAPIKey("key"), WithHTTPClient(&http.Client{})),
	} {
		_, err := api.CreateEvent(t.Context(), EventCreate{})
		if err == nil || !strings.HasSuffix(err.Error(), "the server redirects to "+elsewhere.URL+"/there: use that address as the base URL") {
			t.Errorf("got %v", err)
		}
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	api := newClient(t, "http://user:hidden@px360.test", WithAPIKey("hidden"), WithPassword("admin", "hidden"), WithHTTPClient(&script{
		answers: []func() (*http.Response, error){says(401)},
	}))
	_, err := api.ListPatients(t.Context(), &ListPatientsParams{Search: Ptr("hidden")})
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", api, api, api), fmt.Sprintf("%v %+v", err, err)} {
		if strings.Contains(text, "hidden") {
			t.Errorf("shows a secret: %s", text)
		}
	}
}

func TestNewWithNoAddress(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "localhost:8000", "ftp://px360.test", "http://", "http://a b"} {
		if _, err := New(address); err == nil {
			t.Errorf("%q is an address", address)
		}
	}
}

func TestSomethingElseIsThere(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"<html>welcome</html>", "{}"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, page) }))
		defer server.Close()
		_, err := newClient(t, server.URL, WithPassword("admin", "secret")).RetrieveMe(t.Context())
		if err == nil || !strings.Contains(err.Error(), "does the base URL lead to PX360?") {
			t.Errorf("got %v", err)
		}
	}
}

func TestLifetime(t *testing.T) {
	t.Parallel()
	issuer := &issuer{life: 5 * time.Minute}
	for token, want := range map[string]time.Duration{
		issuer.issue():     5 * time.Minute,
		"":                 0,
		"a.b":              0,
		"a.!.c":            0,
		"a.e30.c":          0,
		"a.eyJpYXQiOjF9.c": 0,
	} {
		if got := lifetime(token); got != want {
			t.Errorf("%q lives %v, want %v", token, got, want)
		}
	}
}
