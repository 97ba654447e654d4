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

// searchedFields maps a word of the contract that is not a field name to fields: in one list, or in all.
// Fields with the prefix patient. come from addHiddenFields.
var searchedFields = map[string][]string{
	"listUsers name":                   {"first_name", "last_name"},
	"listJourneyInstances names":       {"patient.first_name", "patient.last_name", "patient.first_name_ar", "patient.last_name_ar"},
	"names":                            nameFields,
	"MRN":                              {"mrn"},
	"listJourneyInstances patient MRN": {"patient_mrn"},
}

// A searchTest tests the search of a list.
type searchTest struct {
	*list
	fields []string // the searched fields
}

func (l *list) trySearch(t *testing.T, p *openapi3.Parameter) {
	s := &searchTest{list: l}
	said := searchedWords.FindStringSubmatch(p.Description)
	if said == nil {
		t.Fatalf("the contract does not say what is searched: %s", p.Description)
	}
	for _, word := range strings.Split(strings.ReplaceAll(said[1], " and ", ", "), ", ") {
		s.fields = append(s.fields, l.fieldsOfWord(t, word)...)
	}
	for _, field := range s.fields {
		t.Run(field, func(t *testing.T) { s.tryField(t, field) })
	}
	t.Run("no other field", s.tryOtherFields)
	t.Run("normalization", s.tryNormalization)
	t.Run("terms", s.tryTerms)
	t.Run("wildcards", s.tryWildcards)
}

// fieldsOfWord are the fields that a word of the contract means.
func (l *list) fieldsOfWord(t *testing.T, word string) []string {
	for _, key := range []string{l.id + " " + word, word} {
		if meant, found := searchedFields[key]; found {
			return meant
		}
	}
	if _, found := l.rows[0][word]; !found {
		t.Fatalf("%s searches %q, add it to searchedFields", l.id, word)
	}
	return []string{word}
}

// matches reports whether a row matches a search.
func (s *searchTest) matches(row fields, query string) bool {
	for _, term := range strings.FieldsFunc(query, func(r rune) bool { return strings.ContainsRune(" ,\t\n", r) }) {
		in := func(field string) bool { return strings.Contains(normalized(textOf(row, field)), normalized(term)) }
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

// normalized is text in the form in which searches compare it.
func normalized(text string) string {
	return strings.ToLower(strings.NewReplacer(
		"أ", "ا", "إ", "ا", "آ", "ا", "ٱ", "ا", "ى", "ي", "ة", "ه", "ـ", "", "\u064b", "", "\u064c", "", "\u064d", "",
		"\u064e", "", "\u064f", "", "\u0650", "", "\u0651", "", "\u0652", "",
	).Replace(text))
}

// expectFound searches, checks the rows, and returns how many match.
func (s *searchTest) expectFound(t *testing.T, query string) int {
	t.Helper()
	want := s.rowsWhere(func(row fields) bool { return s.matches(row, query) })
	s.expectRows(t, url.Values{"search": {query}}, want)
	return len(want)
}

// expectSome is expectFound of a search that matches at least so many rows, and not all.
func (s *searchTest) expectSome(t *testing.T, query string, least int) {
	t.Helper()
	if n := s.expectFound(t, query); n < least || n == len(s.rows) {
		t.Errorf("the rows do not test %q: %d of %d match", query, n, len(s.rows))
	}
}

// tryField searches for terms that rows have in this field only.
func (s *searchTest) tryField(t *testing.T, field string) {
	others := &searchTest{s.list, slices.DeleteFunc(slices.Clone(s.fields), func(f string) bool { return f == field })}
	tried := 0
	for _, row := range s.rows {
		for _, term := range strings.Fields(textOf(row, field)) {
			if len(others.fields) == 0 || !others.matches(row, term) {
				s.expectSome(t, term, 1)
				s.expectSome(t, strings.ToUpper(term), 1)
				s.expectSome(t, string([]rune(term)[1:]), 1) // an infix
				tried++
			}
		}
		if tried > 2 {
			return
		}
	}
	t.Errorf("the rows do not test the field: only %d terms are in no other", tried)
}

// tryOtherFields searches for terms that rows have only in fields that are not searched.
func (s *searchTest) tryOtherFields(t *testing.T) {
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
		t.Errorf("the rows do not test this: all of %v are in searched fields", texts)
	}
}

// tryNormalization finds both of two spellings by either, in any case.
func (s *searchTest) tryNormalization(t *testing.T) {
	for _, either := range []string{"ZeBra", "zebra", "ZEBRA", "أُسامَـة", "اسامه", "إسامة", "الى", "إلي", "الي", "قرآن", "قران", "قـرٱن"} {
		s.expectSome(t, either, 2)
	}
}

// tryTerms requires all terms to match, whatever separates them.
func (s *searchTest) tryTerms(t *testing.T) {
	alone := s.expectFound(t, "odd")
	for _, query := range []string{"odd high", "high,odd", ", high\t, odd ,", "odd high odd", "odd\nhigh"} {
		s.expectSome(t, query, 1)
		if both := s.expectFound(t, query); both >= alone {
			t.Errorf("the rows do not test %q: %d have odd and %d have both", query, alone, both)
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

// tryWildcards searches for the wildcards of LIKE patterns, which match literally.
func (s *searchTest) tryWildcards(t *testing.T) {
	for _, query := range []string{"%", "_", `\`, "50%off", "a_b", `back\slash`, `k\s`, "%o", "A_B"} {
		s.expectSome(t, query, 1)
	}
	for _, query := range []string{"o%d", "o_d", `\o\d\d`, "%%", `\%`, "%odd%"} {
		if n := s.expectFound(t, query); n != 0 {
			t.Errorf("%d rows have %q", n, query)
		}
	}
}

// The names of a journey's patient stand in the journey: it is found by new ones.
func TestJourneysAreFoundByTheNamesOfTheirPatients(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	patient := c.Patient("MRN-A")
	c.Journey(c.Template(nil), patient, "ENC-1")
	found := func(search string, want float64) {
		t.Helper()
		body := c.expect(t, 200, "GET", "/api/journeys/instances/?search="+search, c.admin.access, nil).json()
		if body["count"] != want {
			t.Errorf("%s is found %v times, want %v", search, body["count"], want)
		}
	}
	found("mrn-a+enc-1", 1)
	c.expect(t, 200, "PATCH", "/api/organizations/patients/"+patient.String()+"/", c.admin.access, fields{"first_name": "Zuhayr", "last_name_ar": "زهير"})
	found("zuhayr", 1)
	found("زهير", 1)
	found("ahmad", 0)
	found("mrn-a+زهير", 1)
}
