package tests

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/getkin/kin-openapi/openapi3"
)

// readOrderings reads from the contract what the list can be ordered by.
func (l *list) readOrderings(t *testing.T, p *openapi3.Parameter) {
	terms := map[string]bool{}
	for _, value := range p.Schema.Value.Items.Value.Enum {
		column, descends := strings.CutPrefix(value.(string), "-")
		if _, found := l.rows[0][column]; !found {
			t.Fatalf("%s can be ordered by %s, which is no field of its rows", l.id, column)
		}
		if terms[value.(string)] = true; !descends {
			l.columns = append(l.columns, column)
		}
	}
	for _, column := range l.columns {
		if !terms["-"+column] || len(terms) != 2*len(l.columns) {
			t.Fatalf("%s cannot be ordered by each of %v in both ways", l.id, l.columns)
		}
	}
}

// tryOrderings reads the list in each of its orders, then in some that are made of two.
func (l *list) tryOrderings(t *testing.T) {
	orders := map[string][]fields{"": l.rows}
	for _, column := range l.columns {
		for _, ordering := range []string{column, "-" + column} {
			orders[ordering] = l.get(t, url.Values{"ordering": {ordering}})
		}
	}
	for _, column := range l.columns {
		for _, ordering := range []string{column, "-" + column} {
			t.Run(ordering, func(t *testing.T) { tryOrdering(t, orders, ordering) })
		}
	}
	t.Run("two", func(t *testing.T) { l.tryTwoOrderings(t, orders) })
	if t.Failed() {
		return // what orders the rows are in says nothing of them
	}
	for _, column := range l.columns {
		checkTells(t, orders, column)
	}
}

// distinct is how many values a column has.
func (l *list) distinct(column string) int {
	values := map[string]bool{}
	for _, row := range l.rows {
		values[fmt.Sprint(row[column])] = true
	}
	return len(values)
}

// tryOrdering looks at what one ordering made of the list.
func tryOrdering(t *testing.T, orders map[string][]fields, ordering string) {
	if got, want := sorted(ids(orders[ordering])), sorted(ids(orders[""])); !slices.Equal(got, want) {
		t.Errorf("lists %d rows, which are not the %d of the whole list", len(got), len(want))
	}
	if wrong := disorder(orders[ordering], ordering); wrong != "" {
		t.Error(wrong)
	}
}

// checkTells fails where the list could be in order by a column for another reason: ordered by another column
// it must be so in neither way, and by default not in both.
func checkTells(t *testing.T, orders map[string][]fields, column string) {
	t.Helper()
	for other, rows := range orders {
		ascends, descends := disorder(rows, column) == "", disorder(rows, "-"+column) == ""
		switch {
		case strings.TrimPrefix(other, "-") == column:
		case ascends && descends, other != "" && (ascends || descends):
			t.Errorf("the rows are no test of %s: ordered by %q they are in that order, too", column, other)
		}
	}
}

// tryTwoOrderings combines each column with another by which those rows differ that it leaves equal.
func (l *list) tryTwoOrderings(t *testing.T, orders map[string][]fields) {
	tried := 0
	for _, first := range l.columns {
		for _, second := range l.columns {
			ordering := first + ",-" + second
			if first == second || disorder(orders[first], ordering) == "" {
				continue
			}
			if wrong := disorder(l.get(t, url.Values{"ordering": {ordering}}), ordering); wrong != "" {
				t.Error(wrong)
			}
			tried++
			break
		}
	}
	if tried == 0 {
		t.Error("no column leaves rows equal that differ by another")
	}
}

// disorder tells of two rows that are not in order, "" if there are none. Nulls are greater than all else.
func disorder(rows []fields, ordering string) string {
	terms := strings.Split(ordering, ",")
	for i, later := range rows {
		for _, earlier := range rows[:i] {
			for _, term := range terms {
				column, descends := strings.CutPrefix(term, "-")
				order, known := compareFields(earlier[column], later[column])
				if descends {
					order = -order
				}
				if order > 0 {
					return fmt.Sprintf("ordered by %s, %s %v comes before %v", ordering, column, earlier[column], later[column])
				}
				if order < 0 || !known {
					break
				}
			}
		}
	}
	return ""
}

// compareFields compares values of one field. Of texts that differ first in other places than two letters of
// the same case or two digits, the database's collation decides, and nothing is known here.
func compareFields(a, b any) (order int, known bool) {
	if a == nil || b == nil {
		return cmp.Compare(truth(a == nil), truth(b == nil)), true
	}
	switch a := a.(type) {
	case bool:
		return cmp.Compare(truth(a), truth(b.(bool))), true
	case float64:
		return cmp.Compare(a, b.(float64)), true
	case string:
		return compareTexts(a, b.(string))
	}
	panic(fmt.Sprintf("no order of values such as %v is known", a))
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

func compareTexts(a, b string) (order int, known bool) {
	if one, err := time.Parse(time.RFC3339Nano, a); err == nil {
		if other, err := time.Parse(time.RFC3339Nano, b); err == nil {
			return one.Compare(other), true
		}
	}
	common := 0
	for common < min(len(a), len(b)) && a[common] == b[common] {
		common++
	}
	if common == min(len(a), len(b)) {
		return cmp.Compare(len(a), len(b)), true
	}
	x, y := rune(a[common]), rune(b[common])
	for _, class := range []*unicode.RangeTable{asciiLower, asciiUpper, asciiDigits} {
		if unicode.Is(class, x) && unicode.Is(class, y) {
			return cmp.Compare(x, y), true
		}
	}
	return 0, false
}

var (
	asciiLower  = &unicode.RangeTable{R16: []unicode.Range16{{Lo: 'a', Hi: 'z', Stride: 1}}}
	asciiUpper  = &unicode.RangeTable{R16: []unicode.Range16{{Lo: 'A', Hi: 'Z', Stride: 1}}}
	asciiDigits = &unicode.RangeTable{R16: []unicode.Range16{{Lo: '0', Hi: '9', Stride: 1}}}
)
