package queries

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

const listOfThings = "-- name: ThingList :many\nSELECT t.id, t.name, t.size\nFROM things t\nWHERE t.owner = $1\nORDER BY name DESC, id"

type thing struct {
	ID   uuid.UUID
	Name string
	Size *int32
}

func text(s string) *string { return &s }

func TestPageSQL(t *testing.T) {
	t.Parallel()
	listed := "FROM (\nSELECT t.id, t.name, t.size\nFROM things t\nWHERE t.owner = $1\n) AS listed"
	for name, test := range map[string]struct {
		page Page
		want string
		args int
	}{
		"the first page": {Page{}, "SELECT * " + listed + "\nORDER BY \"name\" DESC, \"id\"\nLIMIT $2 OFFSET $3", 3},
		"ordered, by id and order first": {Page{Order: Order{{Name: "size"}}},
			"SELECT * " + listed + "\nWHERE id = ANY (ARRAY(\nSELECT id " + listed + "\nORDER BY \"size\", \"id\"\nLIMIT $2 OFFSET $3))\nORDER BY \"size\", \"id\"", 3},
		"ordered by the unique column": {Page{Order: Order{{Name: "id", Descending: true}}}, "\nORDER BY \"id\" DESC\nLIMIT", 3},
		"deep":                         {Page{Offset: 5000}, "WHERE id = ANY (ARRAY(\nSELECT id ", 3},
		"after a row, in one direction": {Page{Order: Order{{Name: "name"}}, Position: &Position{Values: []*string{text("x"), text("1")}}},
			"\nWHERE (\"name\", \"id\") > ($2, $3)\nORDER BY \"name\", \"id\"\nLIMIT $4 OFFSET $5", 5},
		"before a row": {Page{Order: Order{{Name: "name"}}, Position: &Position{Values: []*string{text("x"), text("1")}, Backward: true}},
			"\nWHERE (\"name\", \"id\") < ($2, $3)\nORDER BY \"name\" DESC, \"id\" DESC\nLIMIT", 5},
		"after a row, in two directions": {Page{Position: &Position{Values: []*string{text("x"), text("1")}}},
			"\nWHERE ((\"name\" < $2) OR (\"name\" = $2 AND \"id\" > $3)) AND \"name\" <= $2\nORDER BY \"name\" DESC, \"id\"", 5},
		"after a value, among nulls": {Page{Order: Order{{Name: "size"}}, Position: &Position{Values: []*string{text("7"), text("1")}}},
			"\nWHERE (((\"size\" > $2 OR \"size\" IS NULL)) OR (\"size\" = $2 AND \"id\" > $3))\nORDER BY", 5},
		"after a null": {Page{Order: Order{{Name: "size"}}, Position: &Position{Values: []*string{nil, text("1")}}},
			"\nWHERE ((false) OR (\"size\" IS NULL AND \"id\" > $2))\nORDER BY", 4},
		"after a null, descending": {Page{Order: Order{{Name: "size", Descending: true}}, Position: &Position{Values: []*string{nil, text("1")}}},
			"\nWHERE ((\"size\" IS NOT NULL) OR (\"size\" IS NULL AND \"id\" < $2))\nORDER BY \"size\" DESC, \"id\" DESC", 4},
		"a name is quoted": {Page{Order: Order{{Name: `a"; DROP TABLE users; --`}}}, `ORDER BY "a""; DROP TABLE users; --", "id"`, 3},
	} {
		s, err := newStatement(listOfThings, []any{"me"})
		if err != nil {
			t.Fatal(err)
		}
		sql, args, err := s.rows(s.ordered(test.page.Order), test.page, 21, columnsOf[thing]().nullable)
		if err != nil || !strings.HasPrefix(sql, "-- name: ThingList :many\n") || !strings.Contains(sql, test.want) || len(args) != test.args {
			t.Errorf("%s: %v, %d arguments, want %d\n%s\nwant\n%s", name, err, len(args), test.args, sql, test.want)
		}
	}
}

func TestPositionOfAnotherOrder(t *testing.T) {
	t.Parallel()
	s, err := newStatement(listOfThings, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = s.rows(s.ordered(nil), Page{Position: &Position{Values: []*string{text("1")}}}, 21, columnsOf[thing]().nullable)
	if !errors.Is(err, ErrPosition) {
		t.Errorf("got %v", err)
	}
	if _, err := newStatement("SELECT 1", nil); err == nil {
		t.Error("any statement is a list")
	}
}

func TestPositionOfARow(t *testing.T) {
	t.Parallel()
	size := int32(7)
	row := struct {
		ID          uuid.UUID
		PatientName string
		CreatedAt   time.Time
		Size        *int32
		Nothing     *string
		IsActive    bool
	}{uuid.MustParse("0193c5a0-7a00-7000-8000-000000000001"), "Ali", time.Date(2025, 12, 14, 10, 45, 0, 123456000, time.FixedZone("", 3*3600)), &size, nil, true}
	order := Order{{Name: "patient_name"}, {Name: "created_at"}, {Name: "size"}, {Name: "nothing"}, {Name: "is_active"}, {Name: "id"}}
	values, err := columnsOf[struct {
		ID          uuid.UUID
		PatientName string
		CreatedAt   time.Time
		Size        *int32
		Nothing     *string
		IsActive    bool
	}]().position(row, order)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range values {
		if v == nil {
			v = text("null")
		}
		got = append(got, *v)
	}
	if want := "Ali 2025-12-14T07:45:00.123456Z 7 null true 0193c5a0-7a00-7000-8000-000000000001"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if _, err := columnsOf[thing]().position(thing{}, Order{{Name: "nowhere"}}); err == nil {
		t.Error("a column that is not there has a value")
	}
}
