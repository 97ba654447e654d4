package server

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/server/problem"
)

// A Pace is the slowest that a client may send a body or read an answer: BytesPerSecond on average, once Grace has
// passed. A slower client is cut off.
type Pace struct {
	Grace          time.Duration
	BytesPerSecond int64
}

// DefaultPace is that of a mobile phone with bad reception. It gives a small body, and a small answer, two seconds.
var DefaultPace = Pace{Grace: 2 * time.Second, BytesPerSecond: 50_000}

// deadline is when so many bytes must have been moved.
func (p Pace) deadline(began time.Time, n int64) time.Time {
	return began.Add(p.Grace + time.Duration(n)*time.Second/time.Duration(p.BytesPerSecond))
}

const (
	// smallBody is how large a body may be, in bytes, that is read before its sender is looked up in the database.
	smallBody = 16 << 10
	// chunk is how many bytes are moved under one deadline.
	chunk = 64 << 10
)

var errUnreadableBody = problem.BadRequest("The request body could not be read.")

// receiveBody reads a body of at most limit bytes, at least as fast as the pace. Its memory is part of the budget
// of bodies until the place is left. The errors are problems: 413, 503, and 400 for a body that does not come.
func (s *Server) receiveBody(c echo.Context, p *place, limit int64) (raw []byte, err error) {
	r, began := c.Request(), time.Now()
	announced := r.ContentLength
	if announced > limit {
		return nil, problem.BodyTooLarge
	}
	size := int64(chunk)
	if announced >= 0 {
		size = min(announced, size)
	}
	if p.body, err = s.budgets.Bodies.Take(p.caller, 0 <= announced && announced <= smallBody, size); err != nil {
		return nil, problem.Busy()
	}
	controller := http.NewResponseController(c.Response())
	var received int64
	raw = make([]byte, 0, max(size, 1))
	for due := int64(0); ; {
		if received >= due {
			_ = controller.SetReadDeadline(s.pace.deadline(began, received)) // a recorder of the tests has none
			due = received + chunk/4
		}
		n, err := r.Body.Read(raw[len(raw):cap(raw)])
		raw, received = raw[:len(raw)+n], received+int64(n)
		switch {
		case received > limit:
			return nil, problem.BodyTooLarge
		case errors.Is(err, io.EOF):
			// Without a deadline from here on: net/http watches the connection for its end meanwhile.
			_ = controller.SetReadDeadline(time.Time{})
			p.received = true
			return raw, nil
		case err != nil:
			if errors.Is(err, os.ErrDeadlineExceeded) {
				s.budgets.SlowBodies.Inc()
			}
			return nil, errUnreadableBody
		}
		if raw, err = grow(&p.body, raw, limit, announced); err != nil {
			return nil, problem.Busy()
		}
	}
}

// grow makes room for more of a body, twice as much each time, as far as the budget has it. What is announced is taken
// only as it comes: announcing costs a client nothing.
func grow(lease *limits.Lease, raw []byte, limit, announced int64) ([]byte, error) {
	if len(raw) < cap(raw) {
		return raw, nil
	}
	size := min(2*int64(cap(raw)), limit+1) // one more tells that there is too much
	if announced >= 0 {
		size = min(size, announced+1)
	}
	if err := lease.Grow(size - int64(cap(raw))); err != nil {
		return nil, err
	}
	return append(make([]byte, 0, size), raw...), nil
}

// largeAnswer is the size in bytes from which an answer is part of the budget of answers. A smaller one fits into the
// buffers of the connection.
const largeAnswer = 64 << 10

// slowRequest is when less than half of the HTTP server's timeout is left for the answer.
const slowRequest = 15 * time.Second

// dropBody gives a body that nobody has read as long as a small one: net/http waits for it before the answer is sent.
func (s *Server) dropBody(c echo.Context, p *place) {
	if c.Request().ContentLength != 0 && (p == nil || !p.received) {
		_ = http.NewResponseController(c.Response()).SetReadDeadline(s.pace.deadline(time.Now(), 0))
	}
}

// answering takes the memory of an answer for as long as it is written. The answer to what changed something is never
// refused: it is small, and a 503 would say that nothing was done.
func (s *Server) answering(c echo.Context, size int64) (limits.Lease, error) {
	r := requestOf(c.Request().Context())
	if size < largeAnswer || c.Request().Method != http.MethodGet {
		return limits.Lease{}, nil
	}
	caller, known := limits.ClientAddress(r.clientIP), false
	if r.place != nil {
		caller, known = r.place.caller, r.place.known
	}
	lease, err := s.budgets.Answers.Take(caller, known, size)
	if err != nil {
		return lease, problem.Busy()
	}
	return lease, nil
}

// A pacedWriter cuts off a client that reads an answer slower than the pace.
type pacedWriter struct {
	http.ResponseWriter
	controller *http.ResponseController
	pace       Pace
	slow       func()
	began      time.Time
	written    int64
}

func (s *Server) pacedWriter(c echo.Context) *pacedWriter {
	return &pacedWriter{
		ResponseWriter: c.Response(), controller: http.NewResponseController(c.Response()), pace: s.pace, slow: s.budgets.SlowReaders.Inc, began: time.Now(),
	}
}

// Write writes in chunks, each with its own deadline. The last one holds for what net/http writes afterwards.
func (w *pacedWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), chunk)]
		w.written += int64(len(part))
		_ = w.controller.SetWriteDeadline(w.pace.deadline(w.began, w.written))
		var moved int
		moved, err = w.ResponseWriter.Write(part)
		n, p = n+moved, p[len(part):]
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.slow()
	}
	return n, err
}

// writeFile is http.ServeContent at the pace. The headers are for the content, not for a refusal.
func (s *Server) writeFile(c echo.Context, header map[string]string, content []byte) error {
	lease, err := s.answering(c, int64(len(content)))
	if err != nil {
		return err
	}
	defer lease.Release()
	for name, value := range header {
		c.Response().Header().Set(name, value)
	}
	http.ServeContent(s.pacedWriter(c), c.Request(), "", time.Time{}, bytes.NewReader(content))
	return nil
}
