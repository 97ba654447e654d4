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

// issuer is a server that issues tokens and answers /api/auth/users/me/.
type issuer struct {
	mu          sync.Mutex
	password    string
	refresh     string
	validAccess string // the only access token that is valid
	life        time.Duration
	logins      int
	refreshes   int
	made        int
	rotates     bool          // whether a refresh token is replaced by each use
	gate        chan struct{} // if set, a refresh blocks until it receives
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
	unauthorized := func(detail string) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"detail": %q}`, detail)
	}
	switch r.URL.Path {
	case "/api/auth/token/":
		i.logins++
		if body["password"] != i.password {
			unauthorized("No active account found with the given credentials")
			return
		}
		i.made++
		i.refresh = fmt.Sprintf("refresh-%d", i.made)
		fmt.Fprintf(w, `{"access": %q, "refresh": %q}`, i.issue(), i.refresh)
	case "/api/auth/token/refresh/":
		i.refreshes++
		if body["refresh"] != i.refresh {
			unauthorized("Token is expired")
			return
		}
		if i.rotates {
			i.refresh = fmt.Sprintf("refresh-%d", i.made+1)
			fmt.Fprintf(w, `{"access": %q, "refresh": %q}`, i.issue(), i.refresh)
			return
		}
		fmt.Fprintf(w, `{"access": %q}`, i.issue())
	default:
		if r.Header.Get("Authorization") != "Bearer "+i.validAccess {
			unauthorized("Given token not valid for any token type")
			return
		}
		fmt.Fprint(w, `{"username": "admin"}`)
	}
}

// issue makes a new access token, the only valid one from then on. Its iat is years away from the
// client's clock.
func (i *issuer) issue() string {
	i.made++
	issued := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	claims := fmt.Sprintf(`{"jti": "%d", "iat": %d, "exp": %d}`, i.made, issued, issued+int64(i.life/time.Second))
	i.validAccess = "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	return i.validAccess
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

// connected returns a client of a new issuer, its clock being *now.
func connected(t *testing.T) (*issuer, *ClientWithResponses, *time.Time) {
	t.Helper()
	issuer := &issuer{password: "secret", life: 30 * time.Minute}
	server := httptest.NewServer(issuer)
	t.Cleanup(server.Close)
	api, err := Connect(t.Context(), server.URL, "admin", "secret")
	if err != nil {
		t.Fatal(err)
	}
	now := new(time.Time)
	*now = time.Now()
	sessionOf(api).now = func() time.Time { return *now }
	return issuer, api, now
}

func sessionOf(api *ClientWithResponses) *session {
	return api.ClientInterface.(*Client).Client.(*session)
}

func wantCounts(t *testing.T, i *issuer, logins, refreshes int) {
	t.Helper()
	if gotLogins, gotRefreshes := i.counts(); gotLogins != logins || gotRefreshes != refreshes {
		t.Errorf("%d logins and %d refreshes, want %d and %d", gotLogins, gotRefreshes, logins, refreshes)
	}
}

func wantMe(t *testing.T, api *ClientWithResponses) {
	t.Helper()
	me, err := api.RetrieveMeWithResponse(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(me.HTTPResponse, me.Body); err != nil {
		t.Fatal(err)
	}
}

func TestConnectLogsInOnce(t *testing.T) {
	t.Parallel()
	issuer, api, now := connected(t)
	wantMe(t, api)
	*now = now.Add(29 * time.Minute)
	wantMe(t, api)
	wantCounts(t, issuer, 1, 0)
}

func TestRefreshShortlyBeforeExpiry(t *testing.T) {
	t.Parallel()
	issuer, api, now := connected(t)
	*now = now.Add(30*time.Minute - 20*time.Second)
	wantMe(t, api)
	wantMe(t, api)
	wantCounts(t, issuer, 1, 1)
}

func TestRefreshAfter401(t *testing.T) {
	t.Parallel()
	issuer, api, _ := connected(t)
	issuer.set(func() { issuer.validAccess = "not issued" })
	wantMe(t, api)
	wantCounts(t, issuer, 1, 1)
}

func TestRefreshTokensThatRotate(t *testing.T) {
	t.Parallel()
	issuer, api, _ := connected(t)
	issuer.set(func() { issuer.rotates = true })
	for range 3 {
		issuer.set(func() { issuer.validAccess = "not issued" })
		wantMe(t, api)
	}
	wantCounts(t, issuer, 1, 3)
}

func TestLoginWhenTheRefreshTokenIsRefused(t *testing.T) {
	t.Parallel()
	issuer, api, _ := connected(t)
	issuer.set(func() { issuer.validAccess, issuer.refresh = "not issued", "another" })
	wantMe(t, api)
	wantCounts(t, issuer, 2, 1)
}

// A second 401 in a row is returned to the caller, or the client would log in endlessly.
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
	api, err := Connect(t.Context(), server.URL, "admin", "secret")
	if err != nil {
		t.Fatal(err)
	}
	me, err := api.RetrieveMeWithResponse(t.Context())
	if err != nil || me.StatusCode() != http.StatusUnauthorized {
		t.Errorf("got %v, %v", me, err)
	}
}

func TestConnectWithWrongPassword(t *testing.T) {
	t.Parallel()
	issuer := &issuer{password: "secret"}
	server := httptest.NewServer(issuer)
	defer server.Close()
	_, err := Connect(t.Context(), server.URL, "admin", "wrong")
	failure, ok := errors.AsType[*APIError](err)
	if !ok || failure.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(err.Error(), "log in as admin: ") {
		t.Errorf("got %v", err)
	}
}

// A refused password is not sent again, since failed logins are throttled.
func TestRefusedPasswordIsNotSentAgain(t *testing.T) {
	t.Parallel()
	issuer, api, _ := connected(t)
	issuer.set(func() { issuer.validAccess, issuer.refresh, issuer.password = "not issued", "another", "changed" })
	for range 3 {
		if _, err := api.RetrieveMeWithResponse(t.Context()); err == nil {
			t.Error("a request succeeded")
		}
	}
	wantCounts(t, issuer, 2, 1)
}

func TestOneRefreshAtATime(t *testing.T) {
	t.Parallel()
	issuer, api, _ := connected(t)
	issuer.set(func() { issuer.validAccess = "not issued" })
	issuer.gate = make(chan struct{})
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			me, err := api.RetrieveMeWithResponse(t.Context())
			if err != nil || me.StatusCode() != http.StatusOK {
				t.Errorf("got %v, %v", me, err)
			}
		})
	}
	close(issuer.gate)
	wait.Wait()
	wantCounts(t, issuer, 1, 1)
}

// A caller waiting for the lock can be cancelled, and a cancelled refresh releases the lock.
func TestCancelledRefresh(t *testing.T) {
	t.Parallel()
	issuer, api, _ := connected(t)
	session := sessionOf(api)
	session.lock <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := api.RetrieveMeWithResponse(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-session.lock
	session.renewAt = session.now()
	if _, err := api.RetrieveMeWithResponse(ctx); !errors.Is(err, context.Canceled) {
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
	api, err := Connect(t.Context(), server.URL, "admin", "secret")
	if err != nil {
		t.Fatal(err)
	}
	created, err := api.CreateHospitalWithResponse(t.Context(), HospitalCreate{Name: "A", Code: "B"})
	if err != nil || created.StatusCode() != http.StatusCreated {
		t.Fatalf("got %v, %v", created, err)
	}
	if len(bodies) != 2 || bodies[0] != bodies[1] || bodies[0] == "" {
		t.Errorf("sent %q", bodies)
	}
}

func TestAPIKeyIsSentWithoutToken(t *testing.T) {
	t.Parallel()
	var header http.Header
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { header = r.Header }))
	defer server.Close()
	api, err := NewClientWithResponses(server.URL, WithAPIKey("key"), WithHTTPClient(&Retry{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.CreateEventWithResponse(t.Context(), nil, EventCreate{}); err != nil {
		t.Fatal(err)
	}
	if header.Get("X-API-Key") != "key" || header.Get("Authorization") != "" {
		t.Errorf("sent %v", header)
	}
}

func TestConnectToInvalidBaseURL(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "localhost:8000", "ftp://px360.test", "http://", "http://a b"} {
		if _, err := Connect(t.Context(), address, "admin", "secret"); err == nil {
			t.Errorf("%q is accepted as a base URL", address)
		}
	}
}

func TestConnectToAnotherServer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<html>welcome</html>")
	}))
	defer server.Close()
	if _, err := Connect(t.Context(), server.URL, "admin", "secret"); !errors.Is(err, errNoToken) {
		t.Errorf("got %v", err)
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
			t.Errorf("lifetime of %q is %v, want %v", token, got, want)
		}
	}
}
