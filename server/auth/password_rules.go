package auth

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

const (
	minPasswordLength = 8
	// maxSimilarity is Django's max_similarity: a password whose quickRatio with
	// an attribute reaches it is refused.
	maxSimilarity = 0.7
)

// Attributes are what a user's password must not resemble.
type Attributes struct {
	Username  string
	FirstName string
	LastName  string
	Email     string
}

// Validate returns what Django's four default password validators say about a
// password, in Django's order; nothing if they accept it. It sets no upper bound
// on the length: see MaxPasswordBytes.
func Validate(password string, attributes Attributes) []string {
	var messages []string
	if name := similarAttribute(password, attributes); name != "" {
		messages = append(messages, "The password is too similar to the "+name+".")
	}
	if utf8.RuneCountInString(password) < minPasswordLength {
		messages = append(messages,
			fmt.Sprintf("This password is too short. It must contain at least %d characters.", minPasswordLength))
	}
	if isCommon(password) {
		messages = append(messages, "This password is too common.")
	}
	if isNumeric(password) {
		messages = append(messages, "This password is entirely numeric.")
	}
	return messages
}

// similarAttribute names the first attribute that the password resembles, whole
// or in one of its words.
func similarAttribute(password string, attributes Attributes) string {
	secret := []rune(lower(password))
	for _, attribute := range []struct{ name, value string }{
		{"username", attributes.Username},
		{"first name", attributes.FirstName},
		{"last name", attributes.LastName},
		{"email address", attributes.Email},
	} {
		if attribute.value == "" {
			continue
		}
		value := lower(attribute.value)
		for _, part := range append(splitWords(value), value) {
			letters := []rune(part)
			if !muchLonger(secret, letters) && quickRatio(secret, letters) >= maxSimilarity {
				return attribute.name
			}
		}
	}
	return ""
}

// muchLonger is Django's length check: where the lengths differ that much, the
// ratio cannot reach maxSimilarity, so the characters need not be counted.
func muchLonger(password, value []rune) bool {
	return len(password) >= 10*len(value) && float64(len(value)) < maxSimilarity/2*float64(len(password))
}

// quickRatio is SequenceMatcher.quick_ratio of Python's difflib: how much the two
// have in common as multisets of characters, from 0 to 1.
func quickRatio(a, b []rune) float64 {
	if len(a)+len(b) == 0 {
		return 1
	}
	left := make(map[rune]int, len(b))
	for _, r := range b {
		left[r]++
	}
	common := 0
	for _, r := range a {
		if left[r] > 0 {
			left[r]--
			common++
		}
	}
	return 2 * float64(common) / float64(len(a)+len(b))
}

// splitWords is Python's re.split(r"\W+", value): it keeps empty words at the ends
// and splits at combining marks such as Arabic vowel signs.
func splitWords(value string) []string {
	var words []string
	start, inWord := 0, true
	for i, r := range value {
		switch word := isWordRune(r); {
		case inWord && !word:
			words = append(words, value[start:i])
			inWord = false
		case !inWord && word:
			start, inWord = i, true
		}
	}
	if !inWord {
		start = len(value)
	}
	return append(words, value[start:])
}

func isWordRune(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r)
}

// lower is Python's str.lower but for the Greek final sigma. Python makes two
// characters of a dotted capital I, Go one.
func lower(text string) string {
	return strings.ToLower(strings.ReplaceAll(text, "İ", "i\u0307"))
}

// commonPasswordsGzip is the list that comes with Django 5.2, unchanged; its
// licence is in common-passwords.LICENSE.
//
//go:embed common-passwords.txt.gz
var commonPasswordsGzip []byte

// commonPasswords decompresses the list lazily, when a password is first
// validated: most processes never need it.
var commonPasswords = sync.OnceValue(func() map[string]struct{} {
	set, err := readPasswordList(commonPasswordsGzip)
	if err != nil {
		panic("the embedded list of common passwords: " + err.Error()) // a broken build
	}
	return set
})

func readPasswordList(compressed []byte) (map[string]struct{}, error) {
	list, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, err
	}
	set := make(map[string]struct{}, 20_000)
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		set[strings.TrimFunc(lines.Text(), isPythonSpace)] = struct{}{}
	}
	return set, lines.Err()
}

func isCommon(password string) bool {
	_, found := commonPasswords()[strings.TrimFunc(lower(password), isPythonSpace)]
	return found
}

// isPythonSpace is str.isspace: Unicode's white space and the four ASCII
// separators.
func isPythonSpace(r rune) bool {
	return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f
}

// isNumeric is Python's str.isdigit.
func isNumeric(password string) bool {
	for _, r := range password {
		if !unicode.IsDigit(r) && !unicode.Is(digitsBeyondDecimal, r) {
			return false
		}
	}
	return password != ""
}

// digitsBeyondDecimal are the characters that Python counts as digits and
// Unicode does not count as decimal: superscripts, circled digits and the like
// (Numeric_Type=Digit).
var digitsBeyondDecimal = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x00B2, 0x00B3, 1}, {0x00B9, 0x00B9, 1}, {0x1369, 0x1371, 1}, {0x19DA, 0x19DA, 1},
		{0x2070, 0x2070, 1}, {0x2074, 0x2079, 1}, {0x2080, 0x2089, 1}, {0x2460, 0x2468, 1},
		{0x2474, 0x247C, 1}, {0x2488, 0x2490, 1}, {0x24EA, 0x24EA, 1}, {0x24F5, 0x24FD, 1},
		{0x24FF, 0x24FF, 1}, {0x2776, 0x277E, 1}, {0x2780, 0x2788, 1}, {0x278A, 0x2792, 1},
	},
	R32: []unicode.Range32{
		{0x10A40, 0x10A43, 1}, {0x10E60, 0x10E68, 1}, {0x11052, 0x1105A, 1}, {0x1F100, 0x1F10A, 1},
	},
	LatinOffset: 2,
}
