package tests

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestHostileHTTP sends raw HTTP that an HTTP client would not send.
func TestHostileHTTP(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	h.run(t, h.oddMethods())
	h.run(t, h.oddPaths())
	h.run(t, h.oddRequestLines())
	h.run(t, h.oddHeaders())
	h.run(t, h.oddLengths())
	h.run(t, []attack{{name: "still alive", path: attackedMe, status: 200, want: `{"id":…`}})
	t.Run("pipelined", h.pipelined)
	t.Run("closed early", h.closedEarly)
}

// head is a request without a body.
func (h *hostile) head(line string, more ...string) string {
	return line + "\r\nHost: HOST\r\nConnection: close\r\nAuthorization: Bearer " + h.px.access + "\r\n" + strings.Join(append(more, ""), "\r\n") + "\r\n"
}

func (h *hostile) oddMethods() []attack {
	var attacks []attack
	for _, method := range []string{"FOO", "get", "Get", "PROPFIND", "TRACE", "TRACK", "LINK", "PURGE", "DEBUG", "!#$%&'*+-.^_`|~", strings.Repeat("M", 5000)} {
		attacks = append(attacks, attack{name: method[:min(20, len(method))], raw: h.head(method + " " + attackedMe + " HTTP/1.1"), status: 405, want: methodNotAllowed(method)})
	}
	for _, path := range []string{"/healthz", "/readyz", "/api/schema/", "/api/docs/"} {
		for _, method := range []string{"POST", "FOO", "TRACE", "DELETE"} {
			attacks = append(attacks, attack{name: method + " " + path, raw: h.head(method + " " + path + " HTTP/1.1"), status: 405, want: methodNotAllowed(method)})
		}
	}
	return append(attacks,
		attack{name: "FOO unauthenticated", raw: "FOO " + attackedMe + " HTTP/1.1\r\nHost: HOST\r\n\r\n", status: 401, want: bodyNoCredentials},
		attack{name: "FOO nowhere", raw: h.head("FOO /nowhere HTTP/1.1"), status: 404, want: bodyNotFound},
		attack{name: "CONNECT", raw: h.head("CONNECT 127.0.0.1:22 HTTP/1.1"), status: 404, want: bodyNotFound},
		attack{name: "CONNECT to a path", raw: h.head("CONNECT " + attackedMe + " HTTP/1.1"), status: 405, want: methodNotAllowed("CONNECT")},
		attack{name: "OPTIONS *", raw: h.head("OPTIONS * HTTP/1.1"), status: 404, want: bodyNotFound},
		attack{name: "GET *", raw: h.head("GET * HTTP/1.1"), status: 404, want: bodyNotFound},
		attack{name: "no method", raw: h.head(" " + attackedMe + " HTTP/1.1"), status: 400, want: bodyMalformed},
		attack{name: "a method with a bracket", raw: h.head("G(T " + attackedMe + " HTTP/1.1"), status: 400, want: bodyMalformed},
		attack{name: "a method not in ASCII", raw: h.head("GÉT " + attackedMe + " HTTP/1.1"), status: 400, want: bodyMalformed},
		attack{name: "HTTP/2 without an upgrade", raw: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: 404, want: bodyNotFound},
		attack{name: "TLS", raw: "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", status: 400, want: bodyMalformed},
	)
}

func (h *hostile) oddPaths() []attack {
	var attacks []attack
	for _, path := range []string{
		"/", "//", "/api", "/api//auth/users/me/", "//api/auth/users/me/", "/api/auth/users/me//", "/./api/auth/users/me/", "/api/../api/auth/users/me/", "/api/auth/users/../../../etc/passwd",
		"/api/docs/assets/../../../go.mod", "/api/docs/assets/..%2f..%2fgo.mod", "/api/docs/assets/%2e%2e/%2e%2e/go.mod", "/api/docs/assets/%00", "/api%2fauth%2fusers%2fme%2f", "/%61pi/auth/users/me/",
		"/API/auth/users/me/", "/api/auth/users/me/.json", "/api/auth/users/me/;a=b", "/api/auth/users/me%00/", "/api/auth/users/me%20/", "/api/auth/users/me/x", `/api\auth\users\me\`, "/api/auth/users/%E2%80%8Bme/",
		"/api/auth/users/%ff/", "/api/auth/users/%00/", "/api/auth/users/%2f/", "/api/auth/users/..%2f/", "/api/auth/users/1/", "/api/auth/users/-1/", "/api/auth/users/'/", "/api/auth/users/{id}/", "/api/auth/users/:id/", "/api/auth/users/null/",
		"/api/auth/users/" + wireUnknownID + "/", "/api/auth/users/" + wireUnknownID + "%00/", "/api/auth/users/" + wireUnknownID + "%0a/", "/api/auth/users/" + wireUnknownID + "%2f/", "/api/auth/users/%7B" + wireUnknownID + "%7D/", "/api/auth/users/" + wireUnknownID + "/%2e%2e/me/",
		"/api/auth/users/" + strings.Repeat("a", 4000) + "/", "/" + strings.Repeat("../", 1000) + "etc/passwd", "/debug/pprof/", "/metrics", "/.git/config", "/.env", "/admin/", "/api/integrations/events/bulk_create/x/",
	} {
		attacks = append(attacks, attack{name: path[:min(60, len(path))], raw: h.head("GET " + path + " HTTP/1.1"), status: 404, want: bodyNotFound})
	}
	return append(attacks,
		attack{name: "9 KB", raw: h.head("GET /" + strings.Repeat("a", 9<<10) + " HTTP/1.1"), status: 414, want: `{"detail":"The URL is too long."}`},
		attack{name: "9 KB unauthenticated", raw: "GET /api/auth/users/" + strings.Repeat("a", 9<<10) + " HTTP/1.1\r\nHost: HOST\r\n\r\n", status: 414, want: `{"detail":"The URL is too long."}`},
		attack{name: "40 KB", raw: h.head("GET /" + strings.Repeat("a", 40<<10) + " HTTP/1.1"), status: 431, want: "431 Request Header Fields Too Large…"},
		attack{name: "a bad escape", raw: h.head("GET /api/auth/users/%zz/ HTTP/1.1"), status: 400, want: bodyMalformed},
		attack{name: "half an escape", raw: h.head("GET /api/auth/users/%4 HTTP/1.1"), status: 400, want: bodyMalformed},
		attack{name: "a fragment", raw: h.head("GET " + attackedMe + "#x HTTP/1.1"), status: 404, want: bodyNotFound},
		attack{name: "no slash", raw: h.head("GET api/auth/users/me/ HTTP/1.1"), status: 400, want: bodyMalformed},
		attack{name: "an escaped letter of an id", raw: h.head("GET /api/auth/users/%30" + wireUnknownID[1:] + "/ HTTP/1.1"), status: 404, want: bodyNotFound},
	)
}

func (h *hostile) oddRequestLines() []attack {
	return []attack{
		{name: "absolute form", raw: h.head("GET http://HOST" + attackedMe + " HTTP/1.1"), status: 200, want: `{"id":…`},
		// Links use the configured public URL, whatever the Host header says.
		{name: "absolute form of another host", raw: h.head("GET http://evil.example/api/auth/roles/?page_size=1 HTTP/1.1"), status: 200, want: `{"count":8,"next":"` + h.url + `/api/auth/roles/?page=2…`},
		{name: "another Host", raw: strings.Replace(h.head("GET /api/auth/roles/?page_size=1 HTTP/1.1", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: gopher"), "Host: HOST", "Host: evil.example", 1), status: 200, want: `{"count":8,"next":"` + h.url + `/api/auth/roles/?page=2…`},
		{name: "a Host with a path", raw: strings.Replace(h.head("GET /api/auth/roles/ HTTP/1.1"), "Host: HOST", "Host: a/b", 1), status: 400, want: bodyMalformed},
		{name: "a Host with spaces", raw: strings.Replace(h.head("GET /api/auth/roles/ HTTP/1.1"), "Host: HOST", "Host: a b", 1), status: 400, want: bodyMalformed},
		{name: "no Host", raw: "GET " + attackedMe + " HTTP/1.1\r\n\r\n", status: 400, want: bodyMalformed},
		{name: "two Hosts", raw: "GET " + attackedMe + " HTTP/1.1\r\nHost: HOST\r\nHost: evil.example\r\n\r\n", status: 400, want: bodyMalformed},
		{name: "HTTP/0.9", raw: "GET " + attackedMe + "\r\n\r\n", status: 400, want: bodyMalformed},
		{name: "HTTP/1.0", raw: "GET " + attackedMe + " HTTP/1.0\r\n\r\n", status: 401, want: bodyNoCredentials},
		{name: "HTTP/1.0 with a token", raw: "GET " + attackedMe + " HTTP/1.0\r\nAuthorization: Bearer " + h.px.access + "\r\n\r\n", status: 200, want: `{"id":…`},
		{name: "HTTP/9.9", raw: h.head("GET " + attackedMe + " HTTP/9.9"), status: 505, want: "505 HTTP Version Not Supported…"},
		{name: "http/1.1", raw: h.head("GET " + attackedMe + " http/1.1"), status: 400, want: bodyMalformed},
		{name: "another protocol", raw: h.head("GET " + attackedMe + " ICY/1.1"), status: 400, want: bodyMalformed},
		{name: "two spaces", raw: h.head("GET  " + attackedMe + " HTTP/1.1"), status: 400, want: bodyMalformed},
		{name: "a tab", raw: h.head("GET\t" + attackedMe + "\tHTTP/1.1"), status: 400, want: bodyMalformed},
		{name: "NUL in the path", raw: h.head("GET /api/\x00/ HTTP/1.1"), status: 400, want: bodyMalformed},
		{name: "control characters in the path", raw: h.head("GET /api/\x01\x7f/ HTTP/1.1"), status: 400, want: bodyMalformed},
		{name: "bare line feeds", raw: "GET " + attackedMe + " HTTP/1.1\nHost: HOST\nConnection: close\n\n", status: 401, want: bodyNoCredentials},
		{name: "empty lines before", raw: "\r\n\r\n" + h.head("GET "+attackedMe+" HTTP/1.1"), status: 400, want: bodyMalformed},
	}
}

func (h *hostile) oddHeaders() []attack {
	me := "GET " + attackedMe + " HTTP/1.1"
	anonymous := me + "\r\nHost: HOST\r\nConnection: close\r\n"
	var manySmall strings.Builder
	for i := range 6000 {
		fmt.Fprintf(&manySmall, "X-%d: 1\r\n", i)
	}
	const tooLarge = "431 Request Header Fields Too Large…"
	return []attack{
		{name: "a header of 40 KB", raw: h.head(me, "X-Long: "+strings.Repeat("a", 40<<10)), status: 431, want: tooLarge},
		{name: "six thousand headers", raw: anonymous + manySmall.String() + "\r\n", status: 431, want: tooLarge},
		{name: "a header of 16 KB", raw: h.head(me, "X-Long: "+strings.Repeat("a", 16<<10)), status: 200, want: `{"id":…`},
		{name: "a folded token", raw: anonymous + "Authorization: Bearer\r\n " + h.px.access + "\r\n\r\n", status: 200, want: `{"id":…`},
		{name: "a folded first header", raw: me + "\r\n Host: HOST\r\n\r\n", status: 400, want: bodyMalformed},
		{name: "a space before the colon", raw: anonymous + "Authorization : Bearer " + h.px.access + "\r\n\r\n", status: 400, want: bodyMalformed},
		{name: "a header without a colon", raw: anonymous + "Nonsense\r\n\r\n", status: 400, want: bodyMalformed},
		{name: "a header without a name", raw: anonymous + ": x\r\n\r\n", status: 400, want: bodyMalformed},
		{name: "a header name not in ASCII", raw: anonymous + "X-É: x\r\n\r\n", status: 400, want: bodyMalformed},
		{name: "NUL in a header", raw: anonymous + "X-A: a\x00b\r\n\r\n", status: 400, want: bodyMalformed},
		{name: "a carriage return in a header", raw: anonymous + "X-A: a\rAuthorization: Bearer " + h.px.access + "\r\n\r\n", status: 400, want: bodyMalformed},
		{name: "an underscore for a hyphen", raw: anonymous + "X_API_Key: x\r\n\r\n", status: 401, want: bodyNoCredentials},
		{name: "X-Forwarded-For", raw: h.head(me, "X-Forwarded-For: 127.0.0.1, ::1, ' OR 1=1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1"), status: 200, want: `{"id":…`},
		{name: "X-Original-URL", raw: h.head("GET /nowhere HTTP/1.1", "X-Original-URL: "+attackedMe, "X-Rewrite-URL: "+attackedMe), status: 404, want: bodyNotFound},
		{name: "X-Request-ID with a line", raw: h.head(me, "X-Request-ID: a%0d%0aSet-Cookie: b"), status: 200, want: `{"id":…`},
		{name: "an upgrade", raw: h.head(me, "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"), status: 200, want: `{"id":…`},
		{name: "an upgrade to HTTP/2", raw: h.head(me, "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), status: 200, want: `{"id":…`},
		{name: "a range", raw: h.head(me, "Range: bytes=0-0,1-1,2-2"), status: 200, want: `{"id":…`},
		{name: "conditions", raw: h.head(me, "If-None-Match: *", "If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT"), status: 200, want: `{"id":…`},
		{name: "a foreign origin", raw: h.head(me, "Origin: https://evil.example"), status: 200, want: `{"id":…`},
	}
}

func (h *hostile) oddLengths() []attack {
	post := func(body string, headers ...string) string {
		return h.head("POST "+attackedEvents+" HTTP/1.1", append(headers, "Content-Type: application/json")...) + body
	}
	good := eventWith("X", "{}")
	length := fmt.Sprint("Content-Length: ", len(good))
	chunked := "Transfer-Encoding: chunked"
	whole := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(good), good)
	const noCoding = "Unsupported transfer encoding" // net/http's own
	return []attack{
		{name: "two lengths", raw: post(good, length, "Content-Length: 1"), status: 400, want: bodyMalformed},
		{name: "two lengths in one", raw: post(good, length+", 1"), status: 400, want: bodyMalformed},
		{name: "a negative length", raw: post(good, "Content-Length: -1"), status: 400, want: bodyMalformed},
		{name: "a signed length", raw: post(good, "Content-Length: +5"), status: 400, want: bodyMalformed},
		{name: "a hexadecimal length", raw: post(good, "Content-Length: 0x10"), status: 400, want: bodyMalformed},
		{name: "a length over 64 bits", raw: post(good, "Content-Length: 99999999999999999999"), status: 400, want: bodyMalformed},
		{name: "an empty length", raw: post(good, "Content-Length: "), status: 400, want: bodyMalformed},
		{name: "a length of exabytes", raw: post(strings.Repeat(" ", 2<<20), "Content-Length: 9000000000000000000"), status: 413, want: bodyTooLarge},
		{name: "chunked and a length", raw: post(whole, length, chunked), status: 201, want: `{"id":…`}, // RFC 9112: the length is ignored
		{name: "chunked twice", raw: post(whole, chunked, chunked), status: 501, want: noCoding},
		{name: "gzip, chunked", raw: post(whole, "Transfer-Encoding: gzip, chunked"), status: 501, want: noCoding},
		{name: "chunked, identity", raw: post(whole, "Transfer-Encoding: chunked, identity"), status: 501, want: noCoding},
		{name: "an unknown coding", raw: post(whole, "Transfer-Encoding: xchunked"), status: 501, want: noCoding},
		{name: "a coding with a vertical tab", raw: post(whole, "Transfer-Encoding: \x0bchunked"), status: 400, want: bodyMalformed},
		{name: "a chunk of no number", raw: post("zz\r\n"+good+"\r\n0\r\n\r\n", chunked), status: 400, want: bodyUnreadable},
		{name: "a negative chunk", raw: post("-1\r\n"+good+"\r\n0\r\n\r\n", chunked), status: 400, want: bodyUnreadable},
		{name: "a chunk over 64 bits", raw: post("fffffffffffffffff\r\n"+good+"\r\n0\r\n\r\n", chunked), status: 400, want: bodyUnreadable},
		{name: "a chunk longer than said", raw: post("3\r\n"+good+"\r\n0\r\n\r\n", chunked), status: 400, want: bodyUnreadable},
		{name: "a chunk with an endless extension", raw: post("1;"+strings.Repeat("a", 8<<10)+"\r\n", chunked), status: 400, want: bodyUnreadable},
		{name: "chunks over the limit", raw: post(strings.Repeat("10000\r\n"+strings.Repeat(" ", 1<<16)+"\r\n", 20)+"0\r\n\r\n", chunked), status: 413, want: bodyTooLarge},
		{name: "one byte a chunk", raw: post(strings.Repeat("1\r\n \r\n", 10_000)+"0\r\n\r\n", chunked), status: 400, want: `{"encounter_id":…`},
		{name: "a trailer with a token", raw: "POST " + attackedEvents + " HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nTrailer: Authorization\r\n" + chunked + "\r\n\r\n0\r\nAuthorization: Bearer " + h.px.access + "\r\n\r\n", status: 401, want: bodyNoCredentials},
		{name: "a body with GET", raw: h.head("GET "+attackedMe+" HTTP/1.1", length) + good, status: 200, want: `{"id":…`},
		{name: "Expect: 100-continue unauthenticated", raw: "POST " + attackedEvents + " HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n", status: 401, want: bodyNoCredentials},
		{name: "Expect: too much", raw: h.head("POST "+attackedEvents+" HTTP/1.1", "Expect: nonsense", "Content-Length: 0"), status: 417, want: ""},
		{name: "a large body unauthenticated", raw: "POST " + attackedEvents + " HTTP/1.1\r\nHost: HOST\r\nContent-Length: 100000000\r\n\r\n" + strings.Repeat(" ", 1<<20), status: 401, want: bodyNoCredentials},
	}
}

// pipelined sends requests without waiting for answers; the answers must come in order.
func (h *hostile) pipelined(t *testing.T) {
	request := func(line, more string) string { return line + " HTTP/1.1\r\nHost: HOST\r\n" + more + "\r\n" }
	bad := `{"x":`
	got := h.sendRaw(t, request("GET "+attackedMe, "Authorization: Bearer "+h.px.access+"\r\n")+
		request("POST "+attackedEvents, fmt.Sprintf("Authorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", h.px.access, len(bad)))+bad+
		request("GET "+attackedMe, "")+request("GET /nowhere", "Connection: close\r\n"), 5)
	var statuses []int
	for _, a := range got {
		statuses = append(statuses, a.status)
	}
	if fmt.Sprint(statuses) != "[200 400 401 404]" {
		t.Errorf("answered %v", statuses)
	}
	h.cases.Add(1)
	h.checkAlive(t)
}

// closedEarly closes connections in the middle of requests.
func (h *hostile) closedEarly(t *testing.T) {
	for _, text := range []string{
		"", "G", "GET / HTT", "GET / HTTP/1.1\r\nHost: x\r\nX-A", h.head("GET " + attackedMe + " HTTP/1.1"),
		h.head("POST "+attackedEvents+" HTTP/1.1", "Content-Type: application/json", "Content-Length: 100") + `{"source_system":`,
		h.head("POST "+attackedEvents+" HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: chunked") + "5\r\n{",
	} {
		conn, err := net.Dial("tcp", h.address)
		must(t, err)
		must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = conn.Write([]byte(text))
		must(t, err)
		must(t, conn.(*net.TCPConn).SetLinger(0)) // close with RST
		must(t, conn.Close())
		h.cases.Add(1)
		h.checkAlive(t)
	}
	if now := h.fingerprint(); now != h.before {
		t.Error("the database changed")
	}
	h.expect(t, http.StatusOK, "GET", attackedMe, h.px.access, nil)
}
