package client

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// NonFieldErrors is the key of APIError.Fields for messages about the whole body.
const NonFieldErrors = "non_field_errors"

// APIError is an answer whose status is not 2xx. (The generated Error is one of the bodies that
// such an answer may have.)
type APIError struct {
	StatusCode int
	Method     string
	URL        string // without its query, which may name a patient
	// Detail is a message for people; blank where Fields has the messages.
	Detail string
	// Fields has the validation messages of a refused body by field. Nested fields are named by
	// their path: "events.3.event_code".
	Fields map[string][]string
	// Code identifies the error for programs, where the server gives one: "token_not_valid".
	Code string
	// RequestID names the request in the server's logs.
	RequestID string
	// RetryAfter is how long the server asks to wait; 0 if it does not.
	RetryAfter time.Duration
	// Body is the raw body of the answer.
	Body []byte
}

// Check returns an *APIError unless the status is 2xx. It takes two fields that every generated
// response has:
//
//	response, err := api.CreatePatientWithResponse(ctx, patient)
//	if err == nil {
//		err = client.Check(response.HTTPResponse, response.Body)
//	}
func Check(response *http.Response, body []byte) error {
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		return nil
	}
	failure := &APIError{
		StatusCode: response.StatusCode,
		RequestID:  response.Header.Get("X-Request-ID"),
		RetryAfter: retryAfter(response, time.Now()),
		Body:       body,
	}
	if request := response.Request; request != nil {
		where := *request.URL
		where.RawQuery, where.User = "", nil
		failure.Method, failure.URL = request.Method, where.String()
	}
	failure.read()
	if target := response.Header.Get("Location"); target != "" && response.StatusCode < 400 {
		failure.Detail = "the server redirects to " + target + ": use that address as the base URL"
	}
	return failure
}

// read parses the body into the fields. A body that is no error of the API, as from a proxy, is
// ignored.
func (e *APIError) read() {
	var members map[string]any
	if json.Unmarshal(e.Body, &members) != nil {
		return
	}
	if detail, ok := members["detail"].(string); ok {
		e.Detail = detail
		e.Code, _ = members["code"].(string)
		return
	}
	if e.StatusCode == http.StatusBadRequest {
		e.Fields = map[string][]string{}
		flatten(e.Fields, "", members)
	}
}

// flatten collects the messages in value by path. A list of messages has the path of its field;
// objects and lists of objects add an element to the path.
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

// Error is one line: method, URL, status, and the messages.
func (e *APIError) Error() string {
	var text strings.Builder
	if e.Method != "" {
		fmt.Fprintf(&text, "%s %s: ", e.Method, e.URL)
	}
	fmt.Fprintf(&text, "%d %s", e.StatusCode, http.StatusText(e.StatusCode))
	if e.Detail != "" {
		text.WriteString(": " + e.Detail)
	}
	for _, field := range slices.Sorted(maps.Keys(e.Fields)) {
		messages := strings.Join(e.Fields[field], " ")
		if field == NonFieldErrors {
			text.WriteString(": " + messages)
		} else {
			text.WriteString(": " + field + ": " + messages)
		}
	}
	if e.RequestID != "" {
		fmt.Fprintf(&text, " (request %s)", e.RequestID)
	}
	return text.String()
}

// retryAfter parses the Retry-After header in both its forms, seconds and a date; 0 if it is
// missing, malformed or past.
func retryAfter(response *http.Response, now time.Time) time.Duration {
	text := response.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
