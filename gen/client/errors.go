package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// NonFieldErrors is the key of Error.Fields for messages about the whole body.
const NonFieldErrors = "non_field_errors"

// CodeQueryTooSlow is the Error.Code of a 503 to a list that would take as long again: narrow it, as Error.Detail says.
const CodeQueryTooSlow = "query_too_slow"

// CodeOutcomeUnknown is the Error.Code of a 503 to a call that may have been done or not.
const CodeOutcomeUnknown = "outcome_unknown"

// Error is why a call failed: what the server answered, or that there was no answer.
type Error struct {
	// Status is that of the answer; 0 if there was none, and then errors.Is and errors.As find the cause.
	Status int
	// Code is a word for a program, where the server gives one: "token_not_valid".
	Code string
	// Detail is a sentence for a person; blank where Fields has what is wrong.
	Detail string
	// Fields has the messages by field of a body that was refused. What is nested is named by its path:
	// "events.3.event_code".
	Fields map[string][]string
	// RequestID names the request in the server's logs.
	RequestID string
	// RetryAfter is how long the server asks to wait; 0 if it does not.
	RetryAfter time.Duration
	// MaybeDone is true if the call would change something and nobody knows whether it did: look before you make it
	// again. If it is false, nothing was changed.
	MaybeDone bool
	// Header has the headers of the answer, such as RateLimit; nil if there was none.
	Header http.Header
	// Method and URL are what was asked for. The URL has no query, which may name a patient.
	Method, URL string
	// Body is the answer as it came.
	Body []byte

	cause error
}

// Field returns the messages about a field as one text, blank if there are none.
func (e *Error) Field(name string) string { return strings.Join(e.Fields[name], " ") }

// Unwrap returns what went wrong where there was no answer, or one that cannot be read.
func (e *Error) Unwrap() error { return e.cause }

// Error is one line: what was asked, and why it failed.
func (e *Error) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s", e.Method, e.URL)
	if e.Status != 0 {
		fmt.Fprintf(&text, ": %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Detail != "" {
		text.WriteString(": " + e.Detail)
	}
	for _, field := range slices.Sorted(maps.Keys(e.Fields)) {
		if field == NonFieldErrors {
			text.WriteString(": " + e.Field(field))
		} else {
			text.WriteString(": " + field + ": " + e.Field(field))
		}
	}
	if e.cause != nil {
		text.WriteString(": " + e.cause.Error())
	}
	if e.MaybeDone {
		text.WriteString(" (it may have been done)")
	}
	if e.RequestID != "" {
		fmt.Fprintf(&text, " (request %s)", e.RequestID)
	}
	return strings.NewReplacer("\r", "", "\n", " ").Replace(text.String())
}

// failed is the error of a call for which no request was made.
func (r *call) failed(detail string, cause error) *Error {
	return &Error{Method: r.method, URL: r.url.Redacted(), Detail: detail, cause: cause}
}

// lost is the error of a request that got no answer.
func (r *call) lost(err error) *Error {
	if wrapped, ok := asError[*url.Error](err); ok {
		err = wrapped.Err // without the URL, whose query may name a patient
	}
	failure := r.failed("", err)
	failure.MaybeDone = r.changes() && !neverSent(err)
	return failure
}

// unreadable is the error of an answer that says yes and is not what the contract promises.
func (r *call) unreadable(answer received, err error) *Error {
	failure := r.refused(answer, time.Time{})
	failure.Detail, failure.cause = "the answer cannot be read: does the base URL lead to PX360?", err
	failure.MaybeDone = r.changes()
	return failure
}

// refused is the error of an answer that says no: any whose status is not 2xx.
func (r *call) refused(answer received, now time.Time) *Error {
	failure := r.failed("", nil)
	failure.Status, failure.Header, failure.Body = answer.Status, answer.Header, answer.body
	failure.RequestID = answer.Header.Get("X-Request-ID")
	failure.RetryAfter = retryAfter(answer.Header, now)
	failure.read()
	if target, err := url.Parse(answer.Header.Get("Location")); err == nil && target.Host != "" && answer.Status < 400 {
		target.RawQuery = ""
		failure.Detail = "the server redirects to " + target.Redacted() + ": use that address as the base URL"
	}
	// To be told to wait is to be told that nothing was done, unless the code says otherwise.
	told := failure.Status == http.StatusServiceUnavailable && failure.RetryAfter > 0 && failure.Code != CodeOutcomeUnknown
	failure.MaybeDone = r.changes() && failure.Status >= 500 && !told
	return failure
}

// read takes what the body tells. A body of some other kind, as from a proxy, tells nothing.
func (e *Error) read() {
	var members map[string]any
	if json.Unmarshal(e.Body, &members) != nil {
		return
	}
	if detail, ok := members["detail"].(string); ok {
		e.Detail = detail
		e.Code, _ = members["code"].(string)
		return
	}
	if e.Status == http.StatusBadRequest {
		e.Fields = map[string][]string{}
		flatten(e.Fields, "", members)
	}
}

// flatten collects the messages in value under the path that leads to them. Lists of messages have their field's name;
// objects and lists of objects add a step.
func flatten(into map[string][]string, path string, value any) {
	step := func(key string) string {
		if path == "" {
			return key
		}
		return path + "." + key
	}
	switch value := value.(type) {
	case string:
		into[path] = append(into[path], value)
	case map[string]any:
		for key, inner := range value {
			flatten(into, step(key), inner)
		}
	case []any:
		for i, inner := range value {
			if message, ok := inner.(string); ok {
				into[path] = append(into[path], message)
				continue
			}
			flatten(into, step(strconv.Itoa(i)), inner)
		}
	}
}

// retryAfter reads the header in both its forms, seconds and a date; 0 if it is missing or no time.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// asError is errors.AsType of Go 1.26.
func asError[E error](err error) (found E, ok bool) {
	ok = errors.As(err, &found)
	return found, ok
}
