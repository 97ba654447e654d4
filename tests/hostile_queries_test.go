package tests

import (
	"fmt"
	"strings"
	"testing"
)

// TestHostileQueries sends query strings of which something would be lost if they were read leniently: a
// filter that is dropped shows what it was to hide.
func TestHostileQueries(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	for i := range 3 {
		h.Patient(fmt.Sprint("M", i))
	}
	h.settle()
	q := &queryAttacks{h: h}
	q.filters()
	q.pages()
	q.ids()
	h.run(t, q.all)
}

const attackedPatients = "/api/organizations/patients/"

const (
	saysPercent   = "Malformed percent-encoding."
	saysOnce      = "Give this parameter only once."
	saysPositive  = "A positive integer is required."
	saysLong      = "Ensure this field has no more than 200 characters."
	saysNoUTF8    = "Not valid UTF-8."
	saysBadQuery  = `{"detail":"Malformed query string."}`
	saysURLTooBig = `{"detail":"The URL is too long."}`
)

func saysNoChoice(text string) string {
	return "Select a valid choice. " + text + " is not one of the available choices."
}

func saysNoUUID(text string) string { return "“" + text + "” is not a valid UUID." }

// queryAttacks are requests for a list of patients, sent as the client of the standard library would not.
type queryAttacks struct {
	h   *hostile
	all []attack
}

func (q *queryAttacks) try(query string, status int, want string) {
	q.all = append(q.all, attack{name: query[:min(len(query), 60)], status: status, want: want, raw: q.h.head("GET " + attackedPatients + "?" + query + " HTTP/1.1")})
}

func (q *queryAttacks) filters() {
	q.try("primary_hospital=%zz", 400, saysField("primary_hospital", saysPercent))
	q.try("primary_hospital=%", 400, saysField("primary_hospital", saysPercent))
	q.try("primary_hospital=%4", 400, saysField("primary_hospital", saysPercent))
	q.try("status=active%", 400, saysField("status", saysPercent))
	q.try("%zz=1", 400, saysBadQuery)
	q.try("%ff=1", 400, saysBadQuery)
	q.try("x=%zz", 400, saysField("x", saysPercent))
	q.try("primary_hospital=a;b", 400, saysField("primary_hospital", saysNoUUID("a;b")))
	q.try("primary_hospital=a;page=2", 400, saysField("primary_hospital", saysNoUUID("a;page=2")))
	q.try("status=active;status=inactive", 400, saysField("status", saysNoChoice("active;status=inactive")))
	q.try("status=active&status=inactive", 400, saysField("status", saysOnce))
	q.try("status=active&status=active", 400, saysField("status", saysOnce))
	q.try("status=&status=", 400, saysField("status", saysOnce))
	q.try("status=active&%73tatus=inactive", 400, saysField("status", saysOnce))
	q.try("page=1&page=2", 400, saysField("page", saysOnce))
	q.try("status[]=active", 200, saysList) // a parameter of another name
	q.try("status[$ne]=active", 200, saysList)
	q.try("STATUS=nonsense", 200, saysList)
	q.try("status=ACTIVE", 400, saysField("status", saysNoChoice("ACTIVE")))
	q.try("status=active%20", 400, saysField("status", saysNoChoice("active ")))
	q.try("status=active%00", 400, saysField("status", saysNUL))
	q.try("search=%00", 400, saysField("search", saysNUL))
	q.try("search=a%00b", 400, saysField("search", saysNUL))
	q.try("search=%ff", 400, saysField("search", saysNoUTF8))
	q.try("search=%c0%af", 400, saysField("search", saysNoUTF8))
	q.try("search=%ed%a0%80", 400, saysField("search", saysNoUTF8))
	q.try("search=\xff\xfe", 400, saysField("search", saysNoUTF8))
	q.try("search="+strings.Repeat("a", 201), 400, saysField("search", saysLong))
	q.try("search="+strings.Repeat("%D9%86", 201), 400, saysField("search", saysLong))
	q.try("search="+strings.Repeat("a+", 100), 200, saysList)
	q.try("search="+strings.Repeat("%25", 200), 200, saysNothingFound)
	q.try("search="+strings.Repeat("_", 200), 200, saysNothingFound)
	q.try("search=%5C", 200, saysNothingFound)
	q.try("search='", 200, saysNothingFound)
	q.try("search=')%3B+DROP+TABLE+patients%3B--", 200, saysNothingFound)
	q.try("search=%27+OR+1%3D1--", 200, saysNothingFound)
	q.try("search=((((((((((%5Ba-z%5D%2B)%2B)%2B)%2B", 200, saysNothingFound)
	q.try("search=%E2%80%AE%E2%80%8B", 200, saysNothingFound)
}

func (q *queryAttacks) pages() {
	for _, page := range []string{"1e9", "0", "-1", "-9223372036854775808", "9223372036854775807", "9223372036854775808", "99999999999999999999999", "16777217", "1000000000", "0x1", "1_000", "1.0", "%2B1", "+1", "1;", "last", "%D9%A1", "%00", "'", "null"} {
		q.try("page="+page, 404, saysInvalidPage)
	}
	for _, size := range []string{"0", "-1", "-0", "1e9", "0x10", "1.0", "%2B5", "all", "%D9%A5", "%00", "'"} {
		q.try("page_size="+size, 400, saysField("page_size", saysPositive))
	}
	q.try("page_size=1000000000", 200, saysList)
	q.try("page_size=99999999999999999999999999999999", 200, saysList)
	q.try("page=16777216&page_size=100", 404, saysInvalidPage)
	for _, term := range []string{
		"name%3Bdrop+table+patients", "mrn%3B", "mrn+DESC", "mrn+desc+nulls+first", "(SELECT+1)", "1", "id", "search", "primary_hospital__code", "%22mrn%22", "--mrn", "-", "mrn%2C", "MRN",
		"mrn%00", "mrn/**/", "CASE+WHEN+1=1+THEN+mrn+END", "?", "$1", "%252C",
	} {
		q.all = append(q.all, attack{name: "ordering " + term, path: attackedPatients + "?ordering=" + term, status: 400, want: `{"ordering":["Select a valid choice. …`})
	}
	q.try("ordering="+strings.Repeat("mrn,", 1000)+"mrn", 400, saysField("ordering", "Ensure this field has no more than 3 elements."))
	q.try("ordering=mrn,-mrn,mrn", 200, saysList)
}

// ids are filters by reference, and what is wrong with the query as a whole.
func (q *queryAttacks) ids() {
	for _, id := range []string{"abc", "1", "%7B" + wireUnknownID + "%7D", "urn:uuid:" + wireUnknownID, wireUnknownID + "0", wireUnknownID[1:], "' OR '1'='1", wireUnknownID + "%00"} {
		if strings.Contains(id, "%00") {
			q.try("primary_hospital="+id, 400, saysField("primary_hospital", saysNUL))
			continue
		}
		text := strings.NewReplacer("%7B", "{", "%7D", "}").Replace(id)
		q.try("primary_hospital="+strings.ReplaceAll(id, " ", "+"), 400, saysField("primary_hospital", saysNoUUID(text)))
	}
	q.try(strings.Repeat("a&", 3000), 200, saysList)
	q.try(strings.Repeat("a=1&", 10_000), 431, "431 Request Header Fields Too Large…")
	q.try(strings.Repeat("a=1&", 2500), 414, saysURLTooBig)
	q.try("search="+strings.Repeat("a", 8<<10), 414, saysURLTooBig)
	q.try("&&&&=&=&=1&", 200, saysList)
	q.try("?status=nonsense", 200, saysList) // "?status", a parameter of another name
	q.try("format=xml", 200, saysList)
}

const saysNothingFound = `{"count":0,"next":null,"previous":null,"results":[]}`
