package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Connect logs in and returns a client that stays logged in: it refreshes its access token shortly
// before that expires, or after a 401, and sends the password again only when the refresh token is
// refused as well. Requests that meet an overloaded server or a broken connection are retried as by
// a zero Retry, unless WithHTTPClient gives another Retry:
//
//	api, err := client.Connect(ctx, "https://px360.example.org", username, password,
//		client.WithHTTPClient(&client.Retry{OnWait: show}))
//
// ctx bounds the login only. Wrong credentials are an *APIError of status 401.
func Connect(
	ctx context.Context, baseURL, username, password string, options ...ClientOption,
) (*ClientWithResponses, error) {
	if err := checkBaseURL(baseURL); err != nil {
		return nil, err
	}
	options = append([]ClientOption{WithHTTPClient(&Retry{})}, options...)
	api, err := NewClient(baseURL, options...)
	if err != nil {
		return nil, err
	}
	retry, ok := api.Client.(*Retry)
	if !ok {
		retry = &Retry{Doer: api.Client}
	}
	session := newSession(api.Server, username, password, retry)
	if _, err := session.token(ctx, ""); err != nil {
		return nil, err
	}
	api.Client = session
	return &ClientWithResponses{api}, nil
}

// WithAPIKey sends the key of an integration config with every request. An API key authorizes
// sending events and nothing else.
//
//	api, err := client.NewClientWithResponses("https://px360.example.org",
//		client.WithAPIKey(key), client.WithHTTPClient(&client.Retry{}))
func WithAPIKey(key string) ClientOption {
	return WithRequestEditorFn(func(_ context.Context, request *http.Request) error {
		request.Header.Set("X-API-Key", key)
		return nil
	})
}

func checkBaseURL(text string) error {
	base, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("the base URL: %w", err)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return fmt.Errorf("the base URL %q should look like https://px360.example.org", base.Redacted())
	}
	return nil
}

// tokenPath is the prefix of the paths that need no authentication.
const tokenPath = "/api/auth/token/"

// session is a doer that adds an access token to requests.
type session struct {
	doer               HttpRequestDoer
	public             *ClientWithResponses // unauthenticated, for the token operations
	username, password string
	now                func() time.Time

	// lock guards the fields below. It is a channel with room for one value and not a sync.Mutex, so
	// that waiting for it ends with the caller's context.
	lock    chan struct{}
	access  string
	renewAt time.Time // zero: unknown, renewed after a 401
	refresh string
	refused error // 401 for the password; not sent again, since failed logins are throttled
}

func newSession(server, username, password string, doer HttpRequestDoer) *session {
	return &session{
		doer:     doer,
		public:   &ClientWithResponses{&Client{Server: server, Client: doer}},
		username: username,
		password: password,
		now:      time.Now,
		lock:     make(chan struct{}, 1),
	}
}

// Do sends the request with the access token and, after a 401, once more with a new token.
func (s *session) Do(request *http.Request) (*http.Response, error) {
	ownCredentials := request.Header.Get("Authorization") != "" || request.Header.Get("X-API-Key") != ""
	if ownCredentials || strings.Contains(request.URL.Path, tokenPath) {
		return s.doer.Do(request)
	}
	token, err := s.token(request.Context(), "")
	if err != nil {
		return nil, err
	}
	response, err := s.send(request, token)
	if err != nil || response.StatusCode != http.StatusUnauthorized || !replayable(request) {
		return response, err
	}
	response.Body.Close()
	if token, err = s.token(request.Context(), token); err != nil {
		return nil, err
	}
	if request.GetBody != nil {
		body, err := request.GetBody()
		if err != nil {
			return nil, err
		}
		request = request.Clone(request.Context())
		request.Body = body
	}
	return s.send(request, token)
}

func (s *session) send(request *http.Request, token string) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+token)
	return s.doer.Do(request)
}

// token returns an access token other than refusedToken, which is blank if none was refused.
// Concurrent callers wait while one of them renews it.
func (s *session) token(ctx context.Context, refusedToken string) (string, error) {
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	expiring := !s.renewAt.IsZero() && !s.now().Before(s.renewAt)
	if s.access != "" && s.access != refusedToken && !expiring {
		return s.access, nil
	}
	if err := s.renew(ctx); err != nil {
		return "", err
	}
	return s.access, nil
}

// renew gets an access token with the refresh token or, if that is refused, with the password.
func (s *session) renew(ctx context.Context) error {
	if s.refused != nil {
		return s.refused
	}
	if s.refresh != "" {
		response, err := s.public.RefreshTokenWithResponse(ctx, TokenRefreshRequest{Refresh: s.refresh})
		if err != nil {
			return err
		}
		if response.JSON200 != nil {
			if next := response.JSON200.Refresh; next != nil {
				s.refresh = *next
			}
			s.setToken(response.JSON200.Access)
			return nil
		}
		if response.StatusCode() != http.StatusUnauthorized {
			return answerError(response.HTTPResponse, response.Body)
		}
		s.refresh = ""
	}
	response, err := s.public.CreateTokenWithResponse(ctx, TokenRequest{Username: s.username, Password: s.password})
	if err != nil {
		return err
	}
	if response.JSON200 == nil {
		err = fmt.Errorf("log in as %s: %w", s.username, answerError(response.HTTPResponse, response.Body))
		if response.StatusCode() == http.StatusUnauthorized {
			s.refused = err
		}
		return err
	}
	s.refresh = response.JSON200.Refresh
	s.setToken(response.JSON200.Access)
	return nil
}

var errNoToken = errors.New("the answer has no token in it: does the base URL lead to PX360?")

func answerError(response *http.Response, body []byte) error {
	if err := Check(response, body); err != nil {
		return err
	}
	return errNoToken
}

// setToken stores a token and renews it when a tenth of its lifetime is left, at most 30 s before its
// end. It uses the lifetime and not the expiry time, because the clocks of client and server may differ.
func (s *session) setToken(access string) {
	s.access, s.renewAt = access, time.Time{}
	if life := lifetime(access); life > 0 {
		s.renewAt = s.now().Add(life - min(life/10, 30*time.Second))
	}
}

// lifetime is the time from the iat to the exp claim; 0 if the token is malformed or lacks one.
func lifetime(token string) time.Duration {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return 0
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return 0
	}
	var claims struct {
		IssuedAt float64 `json:"iat"`
		Expires  float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.IssuedAt == 0 {
		return 0
	}
	return max(0, time.Duration(claims.Expires-claims.IssuedAt)*time.Second)
}
