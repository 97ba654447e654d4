package tests

import (
	"compress/gzip"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// axe is the accessibility checker axe-core.
func axe(t *testing.T) string {
	t.Helper()
	file, err := os.Open("testdata/axe.min.js.gz")
	must(t, err)
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	must(t, err)
	script, err := io.ReadAll(unzipped)
	must(t, err)
	return string(script)
}

// TestSurveyPageInBrowser answers a survey on a phone, in both languages, with scripts on and off. Where scripts are on,
// axe-core looks at each page.
func TestSurveyPageInBrowser(t *testing.T) {
	t.Parallel()
	w := newSurveyWorld(t)
	checker := axe(t)
	for _, c := range []struct {
		name, language, button, error, thanks, optOut string
		scripts                                       bool
	}{
		{"English", "en", "Send", "Please answer this question.", "Thank you", "You are unsubscribed", true},
		{"Arabic", "ar", "إرسال", "يرجى الإجابة عن هذا السؤال.", "شكرًا لك", "تم إلغاء اشتراكك", true},
		{"English without scripts", "en", "Send", "Please answer this question.", "Thank you", "You are unsubscribed", false},
		{"Arabic without scripts", "ar", "إرسال", "يرجى الإجابة عن هذا السؤال.", "شكرًا لك", "تم إلغاء اشتراكك", false},
	} {
		w.completed(t, c.name)
		w.step(t)
		link := w.url + w.sms.link(t) + "?lang=" + c.language
		b := openBrowser(t, w.url)
		b.do("a phone", chromedp.EmulateViewport(390, 844))
		if !c.scripts {
			_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
			must(t, err)
		}
		look := func(page string) {
			t.Helper()
			if wide := b.evaluate("the width of "+page, "document.documentElement.scrollWidth > 390"); wide != "false" {
				t.Errorf("%s: %s is wider than the screen", c.name, page)
			}
			if c.scripts {
				if found := b.evaluate("check "+page, checker+`;axe.run().then(r => r.passes.length < 10 ? "only " + r.passes.length + " rules were tried" : r.violations.filter(v => ["serious", "critical"].includes(v.impact)).map(v => v.id + ": " + v.nodes.map(n => n.html).join(" ")).join("\n"))`); found != "" {
					t.Errorf("%s: %s: %s", c.name, page, found)
				}
			}
		}
		b.do("open", chromedp.Navigate(link))
		if question := b.text("read", "legend"); !strings.Contains(question, map[string]string{"en": "How was it?", "ar": "كيف كان؟"}[c.language]) {
			t.Errorf("%s: asks %q", c.name, question)
		}
		look("the survey")
		b.do("send nothing", chromedp.Click(chromedp.CSS("button[value=finish]")))
		if text := b.text("be told", "fieldset.wrong .error"); text != c.error {
			t.Errorf("%s: told %q", c.name, text)
		}
		look("the survey with an error")
		b.do("change the language and back", chromedp.Click(chromedp.CSS("nav a")), chromedp.WaitVisible(chromedp.CSS(`html:not([lang=`+c.language+`]) nav a`)),
			chromedp.Click(chromedp.CSS("nav a")), chromedp.WaitVisible(chromedp.CSS(`html[lang=`+c.language+`] fieldset`)))
		b.do("answer", chromedp.Click(chromedp.CSS("input[value='4']")), chromedp.Click(chromedp.CSS("button[value=finish]")), chromedp.WaitNotPresent(chromedp.CSS("fieldset")))
		if heading := b.text("be thanked", "h1"); heading != c.thanks {
			t.Errorf("%s: %q", c.name, heading)
		}
		look("the thanks")
		b.do("opt out", chromedp.Click(chromedp.CSS("footer a")), chromedp.WaitVisible(chromedp.CSS("form button")))
		look("opting out")
		b.do("confirm", chromedp.Click(chromedp.CSS("form button")), chromedp.WaitNotPresent(chromedp.CSS("form")))
		if heading := b.text("be told", "h1"); heading != c.optOut {
			t.Errorf("%s: %q", c.name, heading)
		}
		w.exec("UPDATE patients SET survey_opt_out = false")
		w.exec("DELETE FROM survey_suppressions")
		b.expected("status of 422") // the browser's own line about the page with an error
		b.done()
	}
	if n := value[int](w.system, "SELECT count(*) FROM surveys WHERE status = 'completed' AND total_score = 4"); n != 4 {
		t.Errorf("%d surveys were completed, want 4", n)
	}
}

// evaluate is the result of an expression, as text; a promise is awaited.
func (b *browser) evaluate(step, expression string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("(async () => String(await (() => {"+wrap(expression)+"})()))()", chromedp.EvalAwaitPromise))
	if err != nil {
		b.done()
		b.t.Fatalf("%s: %v", step, err)
	}
	return text
}

// wrap makes the last expression of a script what it returns.
func wrap(script string) string {
	i := strings.LastIndex(script, ";")
	return script[:i+1] + "return " + script[i+1:]
}

// expected forgets problems that contain a text.
func (b *browser) expected(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := b.problems[:0]
	for _, problem := range b.problems {
		if !strings.Contains(problem, text) {
			kept = append(kept, problem)
		}
	}
	b.problems = kept
}
