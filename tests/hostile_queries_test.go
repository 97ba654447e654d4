package tests

import (
	"fmt"
	"strings"
	"testing"
)

// TestHostileQueries sends query strings that lenient parsers would partly drop: a dropped filter
// discloses the rows that it excludes.
func TestHostileQueries(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	for i := range 3 {
		h.Patient(fmt.Sprint("M", i))
	}
	h.snapshot()
	q := &queryAttacks{h: h}
	q.filters()
	q.pages()
	q.ids()
	h.run(t, q.all)
}

const attackedPatients = "/api/organizations/patients/"

const (
	msgPercent    = "Malformed percent-encoding."
	msgOnce       = "Give this parameter only once."
	msgPositive   = "A positive integer is required."
	msgLong       = "Ensure this field has no more than 200 characters."
	msgNoUTF8     = "Not valid UTF-8."
	bodyBadQuery  = `{"detail":"Malformed query string."}`
	bodyURLTooBig = `{"detail":"The URL is too long."}`
)

func msgNoChoice(text string) string {
	return "Select a valid choice. " + text + " is not one of the available choices."
}

func msgNoUUID(text string) string { return "“" + text + "” is not a valid UUID." }

// queryAttacks are raw requests for a list of patients, with query strings that net/http clients would
// not send.
type queryAttacks struct {
	h   *hostile
	all []attack
}

func (q *queryAttacks) try(query string, status int, want string) {
	q.all = append(q.all, attack{name: query[:min(len(query), 60)], status: status, want: want, raw: q.h.head("GET " + attackedPatients + "?" + query + " HTTP/1.1")})
}

func (q *queryAttacks) filters() {
	q.try("primary_hospital=%zz", 400, fieldError("primary_hospital", msgPercent))
	q.try("primary_hospital=%", 400, fieldError("primary_hospital", msgPercent))
	q.try("primary_hospital=%4", 400, fieldError("primary_hospital", msgPercent))
	q.try("status=active%", 400, fieldError("status", msgPercent))
	q.try("%zz=1", 400, bodyBadQuery)
	q.try("%ff=1", 400, bodyBadQuery)
	q.try("x=%zz", 400, fieldError("x", msgPercent))
	q.try("primary_hospital=a;b", 400, fieldError("primary_hospital", msgNoUUID("a;b")))
	q.try("primary_hospital=a;page=2", 400, fieldError("primary_hospital", msgNoUUID("a;page=2")))
	q.try("status=active;status=inactive", 400, fieldError("status", msgNoChoice("active;status=inactive")))
	q.try("status=active&status=inactive", 400, fieldError("status", msgOnce))
	q.try("status=active&status=active", 400, fieldError("status", msgOnce))
	q.try("status=&status=", 400, fieldError("status", msgOnce))
	q.try("status=active&%73tatus=inactive", 400, fieldError("status", msgOnce))
	q.try("page=1&page=2", 400, fieldError("page", msgOnce))
	q.try("status[]=active", 200, bodyList) // a parameter of another name
	q.try("status[$ne]=active", 200, bodyList)
	q.try("STATUS=nonsense", 200, bodyList)
	q.try("status=ACTIVE", 400, fieldError("status", msgNoChoice("ACTIVE")))
	q.try("status=active%20", 400, fieldError("status", msgNoChoice("active ")))
	q.try("status=active%00", 400, fieldError("status", msgNUL))
	q.try("search=%00", 400, fieldError("search", msgNUL))
	q.try("search=a%00b", 400, fieldError("search", msgNUL))
	q.try("search=%ff", 400, fieldError("search", msgNoUTF8))
	q.try("search=%c0%af", 400, fieldError("search", msgNoUTF8))
	q.try("search=%ed%a0%80", 400, fieldError("search", msgNoUTF8))
	q.try("search=\xff\xfe", 400, fieldError("search", msgNoUTF8))
	q.try("search="+strings.Repeat("a", 201), 400, fieldError("search", msgLong))
	q.try("search="+strings.Repeat("%D9%86", 201), 400, fieldError("search", msgLong))
	q.try("search="+strings.Repeat("a+", 100), 200, bodyList)
	q.try("search="+strings.Repeat("%25", 200), 200, bodyNothingFound)
	q.try("search="+strings.Repeat("_", 200), 200, bodyNothingFound)
	q.try("search=%5C", 200, bodyNothingFound)
	q.try("search='", 200, bodyNothingFound)
	q.try("search=')%3B+DROP+TABLE+patients%3B--", 200, bodyNothingFound)
	q.try("search=%27+OR+1%3D1--", 200, bodyNothingFound)
	q.try("search=((((((((((%5Ba-z%5D%2B)%2B)%2B)%2B", 200, bodyNothingFound)
	q.try("search=%E2%80%AE%E2%80%8B", 200, bodyNothingFound)
}

func (q *queryAttacks) pages() {
	for _, page := range []string{"1e9", "0", "-1", "-9223372036854775808", "9223372036854775807", "9223372036854775808", "99999999999999999999999", "16777217", "1000000000", "0x1", "1_000", "1.0", "%2B1", "+1", "1;", "last", "%D9%A1", "%00", "'", "null"} {
		q.try("page="+page, 404, bodyInvalidPage)
	}
	for _, size := range []string{"0", "-1", "-0", "1e9", "0x10", "1.0", "%2B5", "all", "%D9%A5", "%00", "'"} {
		q.try("page_size="+size, 400, fieldError("page_size", msgPositive))
	}
	q.try("page_size=1000000000", 200, bodyList)
	q.try("page_size=99999999999999999999999999999999", 200, bodyList)
	q.try("page=16777216&page_size=100", 404, bodyInvalidPage)
	for _, term := range []string{
		"name%3Bdrop+table+patients", "mrn%3B", "mrn+DESC", "mrn+desc+nulls+first", "(SELECT+1)", "1", "id", "search", "primary_hospital__code", "%22mrn%22", "--mrn", "-", "mrn%2C", "MRN",
		"mrn%00", "mrn/**/", "CASE+WHEN+1=1+THEN+mrn+END", "?", "$1", "%252C",
	} {
		q.all = append(q.all, attack{name: "ordering " + term, path: attackedPatients + "?ordering=" + term, status: 400, want: `{"ordering":["Select a valid choice. …`})
	}
	q.try("ordering="+strings.Repeat("mrn,", 1000)+"mrn", 400, fieldError("ordering", "Ensure this field has no more than 3 elements."))
	q.try("ordering=mrn,-mrn,mrn", 200, bodyList)
}

// ids are filters by reference, and malformed query strings.
func (q *queryAttacks) ids() {
	for _, id := range []string{"abc", "1", "%7B" + wireUnknownID + "%7D", "urn:uuid:" + wireUnknownID, wireUnknownID + "0", wireUnknownID[1:], "' OR '1'='1", wireUnknownID + "%00"} {
		if strings.Contains(id, "%00") {
			q.try("primary_hospital="+id, 400, fieldError("primary_hospital", msgNUL))
			continue
		}
		text := strings.NewReplacer("%7B", "{", "%7D", "}").Replace(id)
		q.try("primary_hospital="+strings.ReplaceAll(id, " ", "+"), 400, fieldError("primary_hospital", msgNoUUID(text)))
	}
	q.try(strings.Repeat("a&", 3000), 200, bodyList)
	q.try(strings.Repeat("a=1&", 10_000), 431, "431 Request Header Fields Too Large…")
	q.try(strings.Repeat("a=1&", 2500), 414, bodyURLTooBig)
	q.try("search="+strings.Repeat("a", 8<<10), 414, bodyURLTooBig)
	q.try("&&&&=&=&=1&", 200, bodyList)
	q.try("?status=nonsense", 200, bodyList) // "?status", a parameter of another name
	q.try("format=xml", 200, bodyList)
}

const bodyNothingFound = `{"count":0,"next":null,"previous":null,"results":[]}`
