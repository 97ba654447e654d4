package queries

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A Page says which rows of a list are wanted: Size of them at most, those after Offset others or, with a Position, those
// next to it.
type Page struct {
	Order    Order // before the list's own
	Size     int
	Offset   int64
	Position *Position
	MaxBytes int    // of the values of all rows, as Postgres sends them
	Caller   string // who has half of the connections for lists at most
}

// An Order is what a list is ordered by: output columns, which the caller checked against the contract.
type Order []Column

// A Column of a list's output, ascending unless Descending. As Postgres has it by default, null is greater than all else.
type Column struct {
	Name       string
	Descending bool
}

// A Position is a place between two rows of an ordered list, told by the values that one of them has in the columns of
// the order. Rows that come or go do not move it.
type Position struct {
	Values   []*string // as Postgres reads them; nil is null
	Backward bool      // the rows before it are wanted
}

// ErrPosition says that a position has another number of columns than the order, as one that another version of the
// program gave away.
var ErrPosition = errors.New("a position of another order")

// A statement is a generated list query without its order, and its arguments. Every list query ends with the list's own
// order, which tells all rows apart: names of output columns.
type statement struct {
	name, body string
	order      Order // the list's own
	args       []any
}

// newStatement takes a generated query apart. The comment with its name stays in front, for whoever reads the log of
// Postgres.
func newStatement(sql string, args []any) (statement, error) {
	name, sql, named := strings.Cut(sql, "\n")
	at := strings.LastIndex(sql, "\nORDER BY ")
	if !named || at < 0 {
		return statement{}, fmt.Errorf("no list query: %.60s", name)
	}
	s := statement{name: name, body: sql[:at], args: args}
	for term := range strings.SplitSeq(strings.TrimSpace(sql[at+len("\nORDER BY "):]), ", ") {
		column, descending := strings.CutSuffix(term, " DESC")
		s.order = append(s.order, Column{strings.Trim(column, `"`), descending})
	}
	return s, nil
}

// ordered is the whole order of the page. Rows that are equal by what was asked for are told apart by the last column of
// the list's own order, which is unique, in the same direction: so one index serves both ways.
func (s statement) ordered(asked Order) Order {
	if len(asked) == 0 {
		return s.order
	}
	unique := Column{s.order[len(s.order)-1].Name, asked[len(asked)-1].Descending}
	if slices.ContainsFunc(asked, func(c Column) bool { return c.Name == unique.Name }) {
		return asked
	}
	return append(slices.Clip(asked), unique)
}

// lateLookup is the offset from which the rows that are skipped are read by their order and id alone, if possible from an
// index, and only those of the page in full. What has to be sorted is read so from the start.
const lateLookup = 1000

// rows is the query for so many rows of a page.
func (s statement) rows(order Order, p Page, limit int, nullable func(column string) bool) (sql string, args []any, err error) {
	from := s.from()
	where, args, err := s.beyond(order, p.Position, nullable)
	if err != nil {
		return "", nil, err
	}
	if p.Position != nil && p.Position.Backward {
		order = order.reversed()
	}
	args = append(args, limit, p.Offset)
	tail := fmt.Sprintf("%s\nORDER BY %s\nLIMIT $%d OFFSET $%d", where, order.sql(), len(args)-1, len(args))
	if p.Offset < lateLookup && len(p.Order) == 0 {
		return s.name + "\nSELECT * " + from + tail, args, nil
	}
	return fmt.Sprintf("%s\nSELECT * %s\nWHERE id = ANY (ARRAY(\nSELECT id %s%s))\nORDER BY %s", s.name, from, from, tail, order.sql()), args, nil
}

// counted is the query for the number of rows, of which it counts up to most; 0 is all.
func (s statement) counted(most int) string {
	limit := ""
	if most > 0 {
		limit = fmt.Sprint(" LIMIT ", most)
	}
	return fmt.Sprintf("%s (count)\nSELECT count(*) FROM (SELECT %s%s) AS counted", s.name, s.from(), limit)
}

// estimated asks Postgres how many rows it expects.
func (s statement) estimated() string {
	return "EXPLAIN (FORMAT JSON) SELECT " + s.from()
}

// from is what the queries select from. Postgres makes one query of it and what it stands in: the columns that are not
// selected are not read, nor are tables that only they need.
func (s statement) from() string { return "FROM (\n" + s.body + "\n) AS listed" }

// beyond is the condition for the rows next to a position, with its arguments behind those of the query.
func (s statement) beyond(order Order, p *Position, nullable func(string) bool) (where string, args []any, err error) {
	args = append([]any{}, s.args...)
	if p == nil {
		return "", args, nil
	}
	if len(p.Values) != len(order) {
		return "", nil, ErrPosition
	}
	simple := true // one comparison of rows does, for which Postgres can start at the place in an index
	var names, places []string
	for i, c := range order {
		simple = simple && !nullable(c.Name) && c.Descending == order[0].Descending && p.Values[i] != nil
		names = append(names, c.quoted())
		place := "NULL"
		if v := p.Values[i]; v != nil {
			args = append(args, *v)
			place = fmt.Sprint("$", len(args))
		}
		places = append(places, place)
	}
	if simple {
		return fmt.Sprintf("\nWHERE (%s) %s (%s)", strings.Join(names, ", "), operator(order[0], p), strings.Join(places, ", ")), args, nil
	}
	var any []string
	equal := ""
	for i, c := range order {
		any = append(any, "("+equal+further(c, p, names[i], places[i], p.Values[i] == nil, nullable(c.Name))+")")
		if p.Values[i] == nil {
			equal += names[i] + " IS NULL AND "
		} else {
			equal += names[i] + " = " + places[i] + " AND "
		}
	}
	where = "\nWHERE (" + strings.Join(any, " OR ") + ")"
	if p.Values[0] != nil && !nullable(order[0].Name) {
		where += fmt.Sprintf(" AND %s %s= %s", names[0], operator(order[0], p), places[0]) // where an index can start
	}
	return where, args, nil
}

// operator compares a column with the position's value, for rows that come after it in the direction of reading.
func operator(c Column, p *Position) string {
	if c.Descending != p.Backward {
		return "<"
	}
	return ">"
}

func further(c Column, p *Position, name, place string, isNull, nullable bool) string {
	switch upward := operator(c, p) == ">"; {
	case isNull && upward:
		return "false"
	case isNull:
		return name + " IS NOT NULL"
	case upward && nullable:
		return "(" + name + " > " + place + " OR " + name + " IS NULL)"
	}
	return name + " " + operator(c, p) + " " + place
}

func (c Column) quoted() string { return pgx.Identifier{c.Name}.Sanitize() }

func (o Order) sql() string {
	terms := make([]string, len(o))
	for i, c := range o {
		terms[i] = c.quoted()
		if c.Descending {
			terms[i] += " DESC"
		}
	}
	return strings.Join(terms, ", ")
}

func (o Order) reversed() Order {
	other := make(Order, len(o))
	for i, c := range o {
		other[i] = Column{c.Name, !c.Descending}
	}
	return other
}

// columns finds the fields of a generated row by the names of their columns.
type columns struct {
	row    reflect.Type
	fields map[string]int
}

func columnsOf[Row any]() columns {
	c := columns{reflect.TypeFor[Row](), map[string]int{}}
	for i := range c.row.NumField() {
		c.fields[strings.ToLower(c.row.Field(i).Name)] = i
	}
	return c
}

func (c columns) find(column string) (int, bool) {
	field, found := c.fields[strings.ToLower(strings.ReplaceAll(column, "_", ""))]
	return field, found
}

func (c columns) nullable(column string) bool {
	field, found := c.find(column)
	return !found || c.row.Field(field).Type.Kind() == reflect.Pointer
}

// position is what tells a row apart in an order.
func (c columns) position(row any, order Order) ([]*string, error) {
	values := make([]*string, len(order))
	for i, column := range order {
		field, found := c.find(column.Name)
		if !found {
			return nil, fmt.Errorf("%s has no field for the column %s", c.row, column.Name)
		}
		value := reflect.ValueOf(row).Field(field)
		if value.Kind() == reflect.Pointer {
			if value.IsNil() {
				continue
			}
			value = value.Elem()
		}
		text, err := literal(value.Interface())
		if err != nil {
			return nil, fmt.Errorf("the column %s: %w", column.Name, err)
		}
		values[i] = &text
	}
	return values, nil
}

func literal(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), nil
	case uuid.UUID:
		return v.String(), nil
	case bool, int32, int64:
		return fmt.Sprint(v), nil
	}
	return "", fmt.Errorf("a %T is nothing to order by", value)
}
