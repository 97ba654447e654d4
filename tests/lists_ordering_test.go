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

// readOrderings reads the sortable columns of the list from the contract.
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

// tryOrderings tests each ordering of the list, then some combinations of two.
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
		return // the orders are wrong, so they prove nothing
	}
	for _, column := range l.columns {
		checkDistinguishing(t, orders, column)
	}
}

// distinct is the number of distinct values of a column.
func (l *list) distinct(column string) int {
	values := map[string]bool{}
	for _, row := range l.rows {
		values[fmt.Sprint(row[column])] = true
	}
	return len(values)
}

// tryOrdering checks the rows of one ordering.
func tryOrdering(t *testing.T, orders map[string][]fields, ordering string) {
	if got, want := sorted(ids(orders[ordering])), sorted(ids(orders[""])); !slices.Equal(got, want) {
		t.Errorf("lists %d rows, which are not the %d of the whole list", len(got), len(want))
	}
	if wrong := disorder(orders[ordering], ordering); wrong != "" {
		t.Error(wrong)
	}
}

func sorted(values []any) []string {
	var texts []string
	for _, v := range values {
		texts = append(texts, fmt.Sprint(v))
	}
	slices.Sort(texts)
	return texts
}

// checkDistinguishing fails if the rows do not test the ordering by a column: ordered by another column, or
// by default, they are sorted by this one too.
func checkDistinguishing(t *testing.T, orders map[string][]fields, column string) {
	t.Helper()
	for other, rows := range orders {
		ascends, descends := disorder(rows, column) == "", disorder(rows, "-"+column) == ""
		switch {
		case strings.TrimPrefix(other, "-") == column:
		case ascends && descends, other != "" && (ascends || descends):
			t.Errorf("the rows do not test %s: ordered by %q they are in that order too", column, other)
		}
	}
}

// tryTwoOrderings combines each column that has ties with a second one that breaks them.
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
		t.Error("no ordering has ties that another column breaks")
	}
}

// disorder describes two rows that are out of order, "" if there are none. Nulls sort last.
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

// compareFields compares values of a field. If the first difference of two texts is not between letters of
// the same case or between digits, the order depends on the collation and is not known.
func compareFields(a, b any) (order int, known bool) {
	if a == nil || b == nil {
		return cmp.Compare(boolToInt(a == nil), boolToInt(b == nil)), true
	}
	switch a := a.(type) {
	case bool:
		return cmp.Compare(boolToInt(a), boolToInt(b.(bool))), true
	case float64:
		return cmp.Compare(a, b.(float64)), true
	case string:
		return compareTexts(a, b.(string))
	}
	panic(fmt.Sprintf("no order of values such as %v is known", a))
}

func boolToInt(b bool) int {
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
