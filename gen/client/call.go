package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/google/uuid"
)

// operation is what a generated method asks for.
type operation struct {
	method, path string
	query        any  // a pointer to generated parameters; url.Values; nil for none
	body         any  // what JSON is made of, or json.RawMessage; nil for none
	public       bool // takes no credentials
	keyed        bool // takes an Idempotency-Key
}

// call is one call of an operation, which may take several requests.
type call struct {
	method  string
	url     *url.URL // without its query, which may name a patient
	query   url.Values
	body    []byte // nil for none
	header  http.Header
	public  bool
	key     string // Idempotency-Key
	repeats bool
	answers []*Answer // to set
}

// send makes a call and reads the answer's body.
func send[T any](ctx context.Context, c *Client, o operation, options []CallOption) (*T, error) {
	r, err := c.call(o, options)
	if err != nil {
		return nil, err
	}
	answer, err := c.run(ctx, r)
	if err != nil {
		return nil, err
	}
	value := new(T)
	if err := json.Unmarshal(answer.body, value); err != nil {
		return nil, r.unreadable(answer, err)
	}
	return value, nil
}

// sendOnly makes a call whose answer has nothing to tell.
func sendOnly(ctx context.Context, c *Client, o operation, options []CallOption) error {
	r, err := c.call(o, options)
	if err != nil {
		return err
	}
	_, err = c.run(ctx, r)
	return err
}

func (c *Client) call(o operation, options []CallOption) (*call, error) {
	r := &call{method: o.method, url: c.base.JoinPath(o.path), query: queryOf(o.query), header: http.Header{}, public: o.public}
	if ready, ok := o.body.(json.RawMessage); ok {
		r.body = ready
	} else if o.body != nil {
		body, err := json.Marshal(o.body)
		if err != nil {
			return nil, r.failed("the body cannot be written as JSON", err)
		}
		r.body = body
	}
	for _, option := range options {
		option(r)
	}
	if o.keyed && r.key == "" {
		r.key = uuid.NewString()
	}
	if !o.keyed {
		r.key = ""
	}
	return r, nil
}

// received is an answer that was read completely.
type received struct {
	Answer
	body []byte
}

// once makes one request. A connection that breaks in the middle of the answer is an error too.
func (c *Client) once(ctx context.Context, r *call, token string) (received, *Error) {
	request, err := c.request(ctx, r, token)
	if err != nil {
		return received{}, r.failed("", err)
	}
	response, err := c.doer.Do(request)
	if err != nil {
		return received{}, r.lost(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return received{}, r.lost(err)
	}
	answer := received{Answer{response.StatusCode, response.Header}, body}
	if answer.Status < 200 || answer.Status >= 300 {
		return answer, r.refused(answer, time.Now())
	}
	return answer, nil
}

func (c *Client) request(ctx context.Context, r *call, token string) (*http.Request, error) {
	target := *r.url
	target.RawQuery = r.query.Encode()
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	request, err := http.NewRequestWithContext(ctx, r.method, target.String(), body)
	if err != nil {
		return nil, err
	}
	set := func(name, value string) {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	set("Accept", "application/json")
	set("User-Agent", c.userAgent)
	set("Idempotency-Key", r.key)
	if r.body != nil {
		set("Content-Type", "application/json")
	}
	if !r.public {
		set("X-API-Key", c.apiKey)
	}
	if token != "" {
		set("Authorization", "Bearer "+token)
	}
	for name, values := range r.header {
		request.Header[name] = values
	}
	return request, nil
}

// pathOf fills a path's places with ids.
func pathOf(format string, ids ...any) string {
	for i, id := range ids {
		ids[i] = url.PathEscape(fmt.Sprint(id))
	}
	return fmt.Sprintf(format, ids...)
}

// queryOf encodes generated parameters: structs whose fields have the parameter's name as their form tag and are
// pointers, or slices whose items are told apart by commas. What is nil is left out.
func queryOf(params any) url.Values {
	query := url.Values{}
	if given, ok := params.(url.Values); ok {
		return given
	}
	value := reflect.ValueOf(params)
	if !value.IsValid() || value.IsNil() {
		return query
	}
	value = value.Elem()
	for i := range value.NumField() {
		name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("form"), ",")
		item := value.Field(i)
		switch {
		case item.Kind() == reflect.Slice && item.Len() > 0:
			terms := make([]string, item.Len())
			for i := range terms {
				terms[i] = textOf(item.Index(i))
			}
			query.Set(name, strings.Join(terms, ","))
		case item.Kind() == reflect.Pointer && !item.IsNil():
			query.Set(name, textOf(item.Elem()))
		}
	}
	return query
}

func textOf(value reflect.Value) string {
	if at, ok := value.Interface().(time.Time); ok {
		return at.Format(time.RFC3339Nano)
	}
	return fmt.Sprint(value.Interface())
}
