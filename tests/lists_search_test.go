package tests

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

var (
	searchedWords = regexp.MustCompile(`occurs in (.+?)\. `)
	nameFields    = []string{"first_name", "last_name", "first_name_ar", "last_name_ar"}
)

// searchedFields says which fields the contract means by a word that is not a field's name: in one list, or
// in all. Those that begin with patient. come from enrich.
var searchedFields = map[string][]string{
	"listUsers name":                   {"first_name", "last_name"},
	"listJourneyInstances names":       {"patient.first_name", "patient.last_name", "patient.first_name_ar", "patient.last_name_ar"},
	"names":                            nameFields,
	"MRN":                              {"mrn"},
	"listJourneyInstances patient MRN": {"patient_mrn"},
}

// A searching is a list that is searched.
type searching struct {
	*list
	fields []string // that are searched
}

func (l *list) trySearch(t *testing.T, p *openapi3.Parameter) {
	s := &searching{list: l}
	said := searchedWords.FindStringSubmatch(p.Description)
	if said == nil {
		t.Fatalf("the contract does not say what is searched: %s", p.Description)
	}
	for _, word := range strings.Split(strings.ReplaceAll(said[1], " and ", ", "), ", ") {
		s.fields = append(s.fields, l.meaning(t, word)...)
	}
	for _, field := range s.fields {
		t.Run(field, func(t *testing.T) { s.tryField(t, field) })
	}
	t.Run("no other field", s.tryOtherFields)
	t.Run("spelling", s.trySpelling)
	t.Run("terms", s.tryTerms)
	t.Run("wildcards", s.tryWildcards)
}

// meaning is which fields a word of the contract stands for.
func (l *list) meaning(t *testing.T, word string) []string {
	for _, key := range []string{l.id + " " + word, word} {
		if meant, found := searchedFields[key]; found {
			return meant
		}
	}
	if _, found := l.rows[0][word]; !found {
		t.Fatalf("%s searches %q, and this test is not told which field that is", l.id, word)
	}
	return []string{word}
}

// finds tells whether a row is one of those that a search is for.
func (s *searching) finds(row fields, query string) bool {
	for _, term := range strings.FieldsFunc(query, func(r rune) bool { return strings.ContainsRune(" ,\t\n", r) }) {
		in := func(field string) bool { return strings.Contains(folded(textOf(row, field)), folded(term)) }
		if !slices.ContainsFunc(s.fields, in) {
			return false
		}
	}
	return true
}

func textOf(row fields, field string) string {
	text, _ := row[field].(string)
	return text
}

// folded is text without what a search passes over.
func folded(text string) string {
	return strings.ToLower(strings.NewReplacer(
		"أ", "ا", "إ", "ا", "آ", "ا", "ٱ", "ا", "ى", "ي", "ة", "ه", "ـ", "", "\u064b", "", "\u064c", "", "\u064d", "",
		"\u064e", "", "\u064f", "", "\u0650", "", "\u0651", "", "\u0652", "",
	).Replace(text))
}

// expectFound searches, and returns how many rows that is to find.
func (s *searching) expectFound(t *testing.T, query string) int {
	t.Helper()
	want := s.those(func(row fields) bool { return s.finds(row, query) })
	s.expectRows(t, url.Values{"search": {query}}, want)
	return len(want)
}

// expectSome is expectFound of a search that is to find at least so many rows, and not all.
func (s *searching) expectSome(t *testing.T, query string, least int) {
	t.Helper()
	if n := s.expectFound(t, query); n < least || n == len(s.rows) {
		t.Errorf("the rows are no test of %q: %d of %d have that", query, n, len(s.rows))
	}
}

// tryField searches by what only this field of a row has.
func (s *searching) tryField(t *testing.T, field string) {
	others := &searching{s.list, slices.DeleteFunc(slices.Clone(s.fields), func(f string) bool { return f == field })}
	tried := 0
	for _, row := range s.rows {
		for _, term := range strings.Fields(textOf(row, field)) {
			if len(others.fields) == 0 || !others.finds(row, term) {
				s.expectSome(t, term, 1)
				s.expectSome(t, strings.ToUpper(term), 1)
				s.expectSome(t, string([]rune(term)[1:]), 1) // not from its beginning
				tried++
			}
		}
		if tried > 2 {
			return
		}
	}
	t.Errorf("the rows are no test of the field: only %d terms are in it alone", tried)
}

// tryOtherFields searches by what a row has, but in no field that is searched.
func (s *searching) tryOtherFields(t *testing.T) {
	texts := map[string]bool{}
	for _, row := range s.rows {
		for field, value := range row {
			if text, ok := value.(string); ok && text != "" && !slices.Contains(s.fields, field) && !strings.Contains(text, "-") {
				texts[strings.Fields(text)[0]] = true
			}
		}
	}
	without := 0
	for _, text := range slices.Sorted(maps.Keys(texts)) {
		if s.expectFound(t, text) == 0 {
			without++
		}
	}
	if without == 0 {
		t.Errorf("the rows are no test of it: all of %v is in fields that are searched", texts)
	}
}

// trySpelling has what is spelt in two ways found by either, in any case.
func (s *searching) trySpelling(t *testing.T) {
	for _, either := range []string{"ZeBra", "zebra", "ZEBRA", "أُسامَـة", "اسامه", "إسامة", "الى", "إلي", "الي", "قرآن", "قران", "قـرٱن"} {
		s.expectSome(t, either, 2)
	}
}

// tryTerms has all terms count, whatever is between them.
func (s *searching) tryTerms(t *testing.T) {
	alone := s.expectFound(t, "odd")
	for _, query := range []string{"odd high", "high,odd", ", high\t, odd ,", "odd high odd", "odd\nhigh"} {
		s.expectSome(t, query, 1)
		if both := s.expectFound(t, query); both >= alone {
			t.Errorf("the rows are no test of %q: %d have odd and %d have both", query, alone, both)
		}
	}
	for _, query := range []string{"odd nothing", "nothing odd", "oddhigh"} {
		if n := s.expectFound(t, query); n != 0 {
			t.Errorf("%d rows have %q", n, query)
		}
	}
	for _, query := range []string{",", " ", ", \t,\n,"} {
		s.expectRows(t, url.Values{"search": {query}}, s.rows)
	}
}

// tryWildcards has what means something in a pattern stand for itself.
func (s *searching) tryWildcards(t *testing.T) {
	for _, query := range []string{"%", "_", `\`, "50%off", "a_b", `back\slash`, `k\s`, "%o", "A_B"} {
		s.expectSome(t, query, 1)
	}
	for _, query := range []string{"o%d", "o_d", `\o\d\d`, "%%", `\%`, "%odd%"} {
		if n := s.expectFound(t, query); n != 0 {
			t.Errorf("%d rows have %q", n, query)
		}
	}
}
