package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Client calls the operations of PX360. It is safe for concurrent use.
type Client struct {
	base      *url.URL
	doer      Doer
	userAgent string
	maxWait   time.Duration
	maxTries  int
	onWait    func(wait time.Duration, status int)

	apiKey  string
	session *session // nil: no password was given

	sleep func(context.Context, time.Duration) error // for tests
}

// Doer makes one HTTP request; *http.Client is one.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

const (
	defaultUserAgent = "px360-go"
	defaultMaxWait   = 2 * time.Minute
	defaultMaxTries  = 5
	requestTimeout   = time.Minute
)

// New returns a client of the server at baseURL, such as https://px360.example.org. It makes no request yet. Without
// WithAPIKey, WithPassword or WithToken it can ask for tokens only.
func New(baseURL string, options ...Option) (*Client, error) {
	base, err := url.Parse(baseURL)
	if err != nil {
		return nil, fmt.Errorf("the base URL: %w", err)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("the base URL %q should look like https://px360.example.org", base.Redacted())
	}
	c := &Client{
		base:      base,
		doer:      &http.Client{Timeout: requestTimeout, CheckRedirect: followNone},
		userAgent: defaultUserAgent,
		maxWait:   defaultMaxWait,
		maxTries:  defaultMaxTries,
		onWait:    func(time.Duration, int) {},
		sleep:     sleep,
	}
	for _, option := range options {
		option(c)
	}
	return c, nil
}

// String tells where the server is, and no secret.
func (c *Client) String() string { return "PX360 at " + c.base.Redacted() }

// GoString is String: the client holds secrets.
func (c *Client) GoString() string { return c.String() }

// followNone keeps redirects from being followed: the API has none, and one may lose the body or show the API key to
// another host.
func followNone(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Option is how New is told what differs from the default.
type Option func(*Client)

// WithAPIKey sends the key of an integration config with every request. It is good for sending events.
func WithAPIKey(key string) Option {
	return func(c *Client) { c.apiKey = key }
}

// WithPassword logs in as a user, at the first call, and stays logged in: the access token is renewed shortly before it
// expires or once the server refuses it. The password is sent again only when the refresh token is used up, and never
// after it was refused.
func WithPassword(username, password string) Option {
	return func(c *Client) { c.session = newSession(c, username, password) }
}

// WithToken sends an access token that was got elsewhere. It is not renewed.
func WithToken(access string) Option {
	return func(c *Client) { c.session = fixedSession(c, access) }
}

// WithHTTPClient makes the requests with another HTTP client, for instance one with a proxy, a certificate or a timeout
// other than a minute. An *http.Client without a CheckRedirect is used without following redirects.
func WithHTTPClient(doer Doer) Option {
	return func(c *Client) {
		if given, ok := doer.(*http.Client); ok && given.CheckRedirect == nil {
			own := *given
			own.CheckRedirect = followNone
			doer = &own
		}
		c.doer = doer
	}
}

// WithUserAgent names the program in the server's logs. Default: px360-go.
func WithUserAgent(name string) Option {
	return func(c *Client) { c.userAgent = name }
}

// WithMaxWait bounds how long a call may wait in all before it is made again; 0 makes every call once. An answer that
// asks to wait longer is returned as an error at once. Default: 2 minutes. The rate limit of events can ask for an hour.
func WithMaxWait(wait time.Duration) Option {
	return func(c *Client) { c.maxWait = wait }
}

// WithMaxTries bounds how often a call is made that fails otherwise than by being told to wait. Default: 5.
func WithMaxTries(tries int) Option {
	return func(c *Client) { c.maxTries = tries }
}

// WithOnWait calls heard before each wait: how long, and the status that asked for it, 0 if there was no answer. Several
// calls may do so at once.
func WithOnWait(heard func(wait time.Duration, status int)) Option {
	return func(c *Client) { c.onWait = heard }
}

// CallOption is how a single call is told what differs from the default.
type CallOption func(*call)

// WithIdempotencyKey sends events under a key of one's own, at most 200 bytes and new for each call, in the place of one
// that the client makes up. Under the same key, the call can be made again within 24 hours, by another process too, and
// is answered as the first time.
func WithIdempotencyKey(key string) CallOption {
	return func(c *call) { c.key = key }
}

// WithRepeats makes the call again although it may have been done, for instance because a second creation is refused
// where the first one was done.
func WithRepeats() CallOption {
	return func(c *call) { c.repeats = true }
}

// WithHeader sends another header.
func WithHeader(name, value string) CallOption {
	return func(c *call) { c.header.Set(name, value) }
}

// WithAnswer tells what came with the answer's body, such as what is left of the rate limits. It is set when the call is
// successful.
func WithAnswer(answer *Answer) CallOption {
	return func(c *call) { c.answers = append(c.answers, answer) }
}

// Answer is what comes with the body of an answer.
type Answer struct {
	Status int // 200, 201 or 204; 400 of a bulk whose events were all refused
	Header http.Header
}
