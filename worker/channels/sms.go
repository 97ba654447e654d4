package channels

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/template"
)

// A Gateway says how to ask for an SMS. URL and Body are templates of text/template with .To, .Text, .ID and .Sender, and
// the functions json, which quotes a text, and urlquery.
type Gateway struct {
	URL        string
	Method     string // POST if blank
	Headers    string // as an object of JSON
	Body       string
	To         string // e164 (+966…), or digits for gateways that refuse the plus sign
	Sender     string
	Success    string // a JSON pointer to what must be true in the answer, or /status=OK; blank: any answer with a status of 2xx
	ProviderID string // a JSON pointer to what the gateway calls the message
	Region     string // of numbers without a country
}

// maxGatewayAnswer is how much of an answer is read.
const maxGatewayAnswer = 64 << 10

// NewSMS is a channel that sends through a gateway. The error says which of its fields makes no sense.
func NewSMS(g Gateway) (Channel, error) {
	functions := template.FuncMap{"json": func(text string) (string, error) {
		quoted, err := json.Marshal(text)
		return string(quoted), err
	}}
	s := &sms{Gateway: g, client: &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	var err error
	if s.url, err = template.New("URL").Funcs(functions).Parse(g.URL); err != nil {
		return nil, err
	}
	if s.body, err = template.New("body").Funcs(functions).Parse(g.Body); err != nil {
		return nil, err
	}
	if g.Headers != "" {
		if err := json.Unmarshal([]byte(g.Headers), &s.headers); err != nil {
			return nil, errors.New(`the headers are no object of texts such as {"Authorization": "Bearer …"}`)
		}
	}
	if g.To != "e164" && g.To != "digits" {
		return nil, fmt.Errorf("numbers can be written as e164 or digits, not %q", g.To)
	}
	for _, pointer := range []string{g.Success, g.ProviderID} {
		if pointer != "" && !strings.HasPrefix(pointer, "/") {
			return nil, fmt.Errorf("%q is no JSON pointer such as /data/id", pointer)
		}
	}
	if _, err := s.request(context.Background(), Message{To: "+966501234567", Text: "Text"}); err != nil {
		return nil, err
	}
	return s, nil
}

type sms struct {
	Gateway
	client    *http.Client
	url, body *template.Template
	headers   map[string]string
}

func (s *sms) Address(text string) (string, bool) { return phoneAddress(text, s.Region) }

func (s *sms) Open(context.Context) (Session, error) { return s, nil }

func (s *sms) Close() {}

func (s *sms) request(ctx context.Context, m Message) (*http.Request, error) {
	values := struct{ To, Text, ID, Sender string }{m.To, m.Text, m.ID.String(), s.Sender}
	if s.To == "digits" {
		values.To = strings.TrimPrefix(m.To, "+")
	}
	var address, body bytes.Buffer
	if err := errors.Join(s.url.Execute(&address, values), s.body.Execute(&body, values)); err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, cmp.Or(s.Method, http.MethodPost), address.String(), &body)
	if err != nil {
		return nil, errors.New("the gateway's URL or method makes no request")
	}
	if request.URL.Scheme != "http" && request.URL.Scheme != "https" {
		return nil, errors.New("the gateway's URL must begin with https:// or http://")
	}
	request.Header.Set("Content-Type", "application/json")
	for name, value := range s.headers {
		request.Header.Set(name, value)
	}
	return request, nil
}

func (s *sms) Send(ctx context.Context, m Message) (string, error) {
	request, err := s.request(ctx, m)
	if err != nil {
		return "", permanentError{err}
	}
	response, err := s.client.Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) { // without the URL, which may hold a key
			err = failed.Err
		}
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxGatewayAnswer))
	switch status := response.StatusCode; {
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		return "", fmt.Errorf("the gateway answered %d", status)
	case status < 200 || status > 299:
		return "", permanent("the gateway answered %d", status)
	case err != nil:
		return "", fmt.Errorf("the gateway's answer: %w", err)
	}
	return s.read(answer)
}

// read finds in a gateway's answer whether it took the message, and what it calls it.
func (s *sms) read(answer []byte) (string, error) {
	if s.Success == "" && s.ProviderID == "" {
		return "", nil
	}
	var document any
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err != nil {
		return "", fmt.Errorf("the gateway's answer is no JSON")
	}
	if s.Success != "" {
		pointer, want, _ := strings.Cut(s.Success, "=")
		if got, found := lookUp(document, pointer); !found || got != cmp.Or(want, "true") {
			return "", permanent("the gateway refused the message: %s is %q", pointer, excerpt(got))
		}
	}
	if s.ProviderID == "" {
		return "", nil
	}
	id, _ := lookUp(document, s.ProviderID)
	return excerpt(id), nil
}

// excerpt is the beginning of a gateway's text.
func excerpt(text string) string {
	if letters := []rune(text); len(letters) > 200 {
		return string(letters[:200])
	}
	return text
}

// lookUp evaluates a JSON pointer (RFC 6901), as text.
func lookUp(document any, pointer string) (string, bool) {
	for _, token := range strings.Split(pointer, "/")[1:] {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch value := document.(type) {
		case map[string]any:
			document = value[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(value) {
				return "", false
			}
			document = value[i]
		default:
			return "", false
		}
	}
	switch document.(type) {
	case nil, map[string]any, []any:
		return "", false
	}
	return fmt.Sprint(document), true
}
