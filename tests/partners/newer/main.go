// Command newer runs a program against a server of a newer release: a proxy before the one at $SERVER_URL adds a field
// that the contract does not have to every object of every answer. A client must ignore it.
//
//	newer COMMAND ARGUMENT…
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strconv"
)

func main() {
	err := run(os.Getenv("SERVER_URL"), os.Args[1:])
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		os.Exit(failed.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "newer:", err)
		os.Exit(1)
	}
}

func run(server string, command []string) error {
	target, err := url.Parse(server)
	if err != nil || target.Host == "" || len(command) == 0 {
		return errors.New("needs SERVER_URL and a command")
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Del("Accept-Encoding") // the answer is to be read here
		},
		ModifyResponse: addFields,
	})
	defer proxy.Close()
	program := exec.Command(command[0], command[1:]...)
	program.Env = append(os.Environ(), "SERVER_URL="+proxy.URL)
	program.Stdout, program.Stderr = os.Stdout, os.Stderr
	return program.Run()
}

// addFields adds the field to the objects of an answer. It leaves a 400 alone, whose members are the names of fields.
func addFields(answer *http.Response) error {
	if answer.StatusCode == http.StatusBadRequest || answer.Header.Get("Content-Type") != "application/json" {
		return nil
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var body any
	if err := decoder.Decode(&body); err != nil {
		return err
	}
	if text, err = json.Marshal(withFields(body)); err != nil {
		return err
	}
	answer.Body = io.NopCloser(bytes.NewReader(text))
	answer.ContentLength = int64(len(text))
	answer.Header.Set("Content-Length", strconv.Itoa(len(text)))
	return nil
}

func withFields(body any) any {
	switch body := body.(type) {
	case map[string]any:
		for name, value := range body {
			body[name] = withFields(value)
		}
		body["of_a_newer_release"] = "new"
	case []any:
		for i, value := range body {
			body[i] = withFields(value)
		}
	}
	return body
}
