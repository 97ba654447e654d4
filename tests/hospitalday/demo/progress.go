package demo

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress displays the progress: a bar if the terminal can redraw it, else a line for each step. It
// is safe for concurrent use.
type progress struct {
	out         io.Writer
	interactive bool

	mu      sync.Mutex
	title   string
	bar     *progressbar.ProgressBar
	waitEnd time.Time // of the wait that was reported last
}

func newProgress(out io.Writer, interactive bool) *progress {
	return &progress{out: out, interactive: interactive}
}

// start begins a step of total parts.
func (p *progress) start(title string, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.title, p.waitEnd = title, time.Time{}
	if !p.interactive {
		return
	}
	p.bar = progressbar.NewOptions(total,
		progressbar.OptionSetWriter(p.out),
		progressbar.OptionSetDescription(title),
		progressbar.OptionShowCount(),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
}

// add counts completed parts.
func (p *progress) add(parts int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil {
		return
	}
	if !p.waitEnd.IsZero() && time.Now().After(p.waitEnd) {
		p.waitEnd = time.Time{}
		p.bar.Describe(p.title)
	}
	_ = p.bar.Add(parts)
}

// finish ends the step and prints a summary of it.
func (p *progress) finish(format string, args ...any) {
	p.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%s: %s\n", p.title, fmt.Sprintf(format, args...))
}

// close clears the bar.
func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}

// waiting reports that a request waits. Concurrent requests wait at the same time, so it reports
// only waits that end distinctly later.
func (p *progress) waiting(wait time.Duration, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const brief, distinctly = time.Second, 2 * time.Second
	end := time.Now().Add(wait)
	if wait < brief || end.Before(p.waitEnd.Add(distinctly)) {
		return
	}
	p.waitEnd = end
	why := "the connection failed, next try in"
	switch status {
	case 0:
	case http.StatusTooManyRequests:
		why = "the server's rate limit asks to wait"
	default:
		why = "the server is busy, next try in"
	}
	text := fmt.Sprintf("%s (%s %v, until %s)", p.title, why, wait.Round(time.Second), end.Format(time.TimeOnly))
	if p.bar != nil {
		p.bar.Describe(text)
		return
	}
	fmt.Fprintln(p.out, text)
}
