package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/px360/px360/openapi"
)

// mockID is in the place of ids in paths; a mock server answers for any.
const mockID = "0193c5a0-7a00-7000-8000-000000000001"

// A mockServer is a Prism that answers with the examples of the contract.
type mockServer struct {
	url    string
	output bytes.Buffer // safe to read once stop has returned
	stop   func()
}

// mock calls each operation of a mock server once with the example of its request. The mock must take
// the request and answer with a documented success that matches its schema.
func mock(prism, contract string) (summary string, err error) {
	doc, err := openapi.Load()
	if err != nil {
		return "", err
	}
	server, err := startMock(prism, contract)
	if err != nil {
		return "", err
	}
	var complaints []error
	called := 0
	for _, path := range doc.Paths.InMatchingOrder() {
		for method, operation := range doc.Paths.Value(path).Operations() {
			called++
			if err := callMock(server.url, method, path, operation); err != nil {
				complaints = append(complaints, fmt.Errorf("%s: %w", operation.OperationID, err))
			}
		}
	}
	server.stop()
	if len(complaints) > 0 {
		return "", fmt.Errorf("%w\nof %d operations that were called, %d failed; Prism's output:\n%s",
			errors.Join(complaints...), called, len(complaints), tail(server.output.String(), 30))
	}
	return fmt.Sprintf("the mock answers all %d operations", called), nil
}

func startMock(prism, contract string) (*mockServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	// In one process, so that none is left when it is killed.
	command := exec.Command(prism, "mock", "--host", "127.0.0.1", "--port", port, "--multiprocess", "false", "--errors", contract)
	server := &mockServer{url: "http://" + address}
	command.Stdout, command.Stderr = &server.output, &server.output
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("prism: %w (run 'make mock', which installs it)", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	server.stop = func() {
		_ = command.Process.Kill() // it may have ended by itself
		<-ended
	}
	for range 600 {
		select {
		case err := <-ended:
			return nil, fmt.Errorf("prism ended: %w: %s", err, server.output.String())
		case <-time.After(100 * time.Millisecond):
		}
		if connection, err := net.Dial("tcp", address); err == nil {
			return server, connection.Close()
		}
	}
	server.stop()
	return nil, fmt.Errorf("prism does not listen: %s", server.output.String())
}

func callMock(base, method, path string, operation *openapi3.Operation) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	request, err := exampleRequest(ctx, base, method, path, operation)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if violations := response.Header.Get("Sl-Violations"); violations != "" {
		return fmt.Errorf("status %d with violations %s", response.StatusCode, violations)
	}
	documented := operation.Responses.Status(response.StatusCode)
	if documented == nil || response.StatusCode >= 300 {
		return fmt.Errorf("status %d, want a documented success: %s", response.StatusCode, body)
	}
	media := documented.Value.Content.Get("application/json")
	if media == nil {
		return nil // a status without a body
	}
	var answer any // of the type that the operation's schema says
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("the answer is no JSON: %w", err)
	}
	return media.Schema.Value.VisitJSON(answer, openapi3.VisitAsResponse())
}

// exampleRequest has the examples of the contract, and a credential of each kind that the operation takes.
func exampleRequest(ctx context.Context, base, method, path string, operation *openapi3.Operation) (*http.Request, error) {
	query := url.Values{}
	for _, parameter := range operation.Parameters {
		p := parameter.Value
		example := p.Example
		if example == nil {
			example = p.Schema.Value.Example
		}
		switch {
		case p.In == openapi3.ParameterInPath:
			path = strings.ReplaceAll(path, "{"+p.Name+"}", mockID)
		case p.In == openapi3.ParameterInQuery && example != nil:
			query.Set(p.Name, fmt.Sprint(example))
		case p.Required:
			return nil, fmt.Errorf("the required parameter %s has no example", p.Name)
		}
	}
	var body []byte
	if operation.RequestBody != nil {
		media := operation.RequestBody.Value.Content.Get("application/json")
		if media == nil || media.Example == nil {
			return nil, errors.New("the request has no example")
		}
		var err error
		if body, err = json.Marshal(media.Example); err != nil {
			return nil, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, base+path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Authorization", "Bearer token")
	request.Header.Set("X-API-Key", "key")
	return request, nil
}

// tail is the last lines of text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
