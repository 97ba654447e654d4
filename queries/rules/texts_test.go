package rules_test

import (
	"strings"
	"testing"

	"github.com/px360/px360/queries/rules"
)

func TestSMSSegments(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"": 1, strings.Repeat("a", 160): 1, strings.Repeat("a", 161): 2, strings.Repeat("a", 306): 2, strings.Repeat("a", 307): 3,
		strings.Repeat("€", 80): 1, strings.Repeat("€", 81): 2,
		strings.Repeat("ك", 70): 1, strings.Repeat("ك", 71): 2, strings.Repeat("ك", 134): 2, strings.Repeat("ك", 135): 3,
		strings.Repeat("😀", 35): 1, strings.Repeat("😀", 36): 2,
	} {
		if got := rules.SMSSegments(text); got != want {
			t.Errorf("%d characters %.6q take %d segments, want %d", len([]rune(text)), text, got, want)
		}
	}
}

func TestSMSText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ language, text, want string }{
		{"en", "", "AlHammadi: how was your visit? Please tell us: L"},
		{"ar", "", "AlHammadi: كيف كانت زيارتك؟ نرجو أن تخبرنا: L"},
		{"en", "Tell us: {link}", "AlHammadi: Tell us: L"},
		{"en", "{link} by {hospital}", "L by AlHammadi"},
	} {
		if got := rules.SMSText(c.language, c.text, "AlHammadi", "L"); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.language, c.text, got, c.want)
		}
	}
}
