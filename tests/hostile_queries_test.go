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
		h.patient(fmt.Sprint("M", i))
	}
	h.settle()
	const patients = "/api/organizations/patients/"
	var attacks []attack
	try := func(query string, status int, want string) {
		name := query[:min(len(query), 60)]
		// As the client of the standard library would not send it.
		attacks = append(attacks, attack{name: name, status: status, want: want,
			raw: "GET " + patients + "?" + query + " HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nAuthorization: Bearer " + h.px + "\r\n\r\n"})
	}
	const (
		percent = "Malformed percent-encoding."
		once    = "Give this parameter only once."
		integer = "A positive integer is required."
		long    = "Ensure this field has no more than 200 characters."
		noUTF8  = "Not valid UTF-8."
		query   = `{"detail":"Malformed query string."}`
		urlLong = `{"detail":"The URL is too long."}`
	)
	noChoice := func(text string) string {
		return "Select a valid choice. " + text + " is not one of the available choices."
	}
	noUUID := func(text string) string { return "“" + text + "” is not a valid UUID." }

	try("primary_hospital=%zz", 400, saysField("primary_hospital", percent))
	try("primary_hospital=%", 400, saysField("primary_hospital", percent))
	try("primary_hospital=%4", 400, saysField("primary_hospital", percent))
	try("status=active%", 400, saysField("status", percent))
	try("%zz=1", 400, query)
	try("%ff=1", 400, query)
	try("x=%zz", 400, saysField("x", percent))
	try("primary_hospital=a;b", 400, saysField("primary_hospital", noUUID("a;b")))
	try("primary_hospital=a;page=2", 400, saysField("primary_hospital", noUUID("a;page=2")))
	try("status=active;status=inactive", 400, saysField("status", noChoice("active;status=inactive")))
	try("status=active&status=inactive", 400, saysField("status", once))
	try("status=active&status=active", 400, saysField("status", once))
	try("status=&status=", 400, saysField("status", once))
	try("status=active&%73tatus=inactive", 400, saysField("status", once))
	try("page=1&page=2", 400, saysField("page", once))
	try("status[]=active", 200, saysList) // a parameter of another name
	try("status[$ne]=active", 200, saysList)
	try("STATUS=nonsense", 200, saysList)
	try("status=ACTIVE", 400, saysField("status", noChoice("ACTIVE")))
	try("status=active%20", 400, saysField("status", noChoice("active ")))
	try("status=active%00", 400, saysField("status", saysNUL))
	try("search=%00", 400, saysField("search", saysNUL))
	try("search=a%00b", 400, saysField("search", saysNUL))
	try("search=%ff", 400, saysField("search", noUTF8))
	try("search=%c0%af", 400, saysField("search", noUTF8))
	try("search=%ed%a0%80", 400, saysField("search", noUTF8))
	try("search=\xff\xfe", 400, saysField("search", noUTF8))
	try("search="+strings.Repeat("a", 201), 400, saysField("search", long))
	try("search="+strings.Repeat("%D9%86", 201), 400, saysField("search", long))
	try("search="+strings.Repeat("a+", 100), 200, saysList)
	try("search="+strings.Repeat("%25", 200), 200, saysNothingFound)
	try("search="+strings.Repeat("_", 200), 200, saysNothingFound)
	try("search=%5C", 200, saysNothingFound)
	try("search='", 200, saysNothingFound)
	try("search=')%3B+DROP+TABLE+patients%3B--", 200, saysNothingFound)
	try("search=%27+OR+1%3D1--", 200, saysNothingFound)
	try("search=((((((((((%5Ba-z%5D%2B)%2B)%2B)%2B", 200, saysNothingFound)
	try("search=%E2%80%AE%E2%80%8B", 200, saysNothingFound)

	for _, page := range []string{"1e9", "0", "-1", "-9223372036854775808", "9223372036854775807", "9223372036854775808", "99999999999999999999999", "16777217", "1000000000", "0x1", "1_000", "1.0", "%2B1", "+1", "1;", "last", "%D9%A1", "%00", "'", "null"} {
		try("page="+page, 404, saysInvalidPage)
	}
	for _, size := range []string{"0", "-1", "-0", "1e9", "0x10", "1.0", "%2B5", "all", "%D9%A5", "%00", "'"} {
		try("page_size="+size, 400, saysField("page_size", integer))
	}
	try("page_size=1000000000", 200, saysList)
	try("page_size=99999999999999999999999999999999", 200, saysList)
	try("page=16777216&page_size=100", 404, saysInvalidPage)
	for _, term := range []string{
		"name%3Bdrop+table+patients", "mrn%3B", "mrn+DESC", "mrn+desc+nulls+first", "(SELECT+1)", "1", "id", "search", "primary_hospital__code", "%22mrn%22", "--mrn", "-", "mrn%2C", "MRN",
		"mrn%00", "mrn/**/", "CASE+WHEN+1=1+THEN+mrn+END", "?", "$1", "%252C",
	} {
		attacks = append(attacks, attack{name: "ordering " + term, path: patients + "?ordering=" + term, status: 400, want: `{"ordering":["Select a valid choice. …`})
	}
	try("ordering="+strings.Repeat("mrn,", 1000)+"mrn", 400, saysField("ordering", "Ensure this field has no more than 3 elements."))
	try("ordering=mrn,-mrn,mrn", 200, saysList)
	for _, id := range []string{"abc", "1", "%7B" + wireUnknownID + "%7D", "urn:uuid:" + wireUnknownID, wireUnknownID + "0", wireUnknownID[1:], "' OR '1'='1", wireUnknownID + "%00"} {
		if strings.Contains(id, "%00") {
			try("primary_hospital="+id, 400, saysField("primary_hospital", saysNUL))
			continue
		}
		text := strings.NewReplacer("%7B", "{", "%7D", "}").Replace(id)
		try("primary_hospital="+strings.ReplaceAll(id, " ", "+"), 400, saysField("primary_hospital", noUUID(text)))
	}
	try(strings.Repeat("a&", 3000), 200, saysList)
	try(strings.Repeat("a=1&", 10_000), 431, "431 Request Header Fields Too Large…")
	try(strings.Repeat("a=1&", 2500), 414, urlLong)
	try("search="+strings.Repeat("a", 8<<10), 414, urlLong)
	try("&&&&=&=&=1&", 200, saysList)
	try("?status=nonsense", 200, saysList) // "?status", a parameter of another name
	try("format=xml", 200, saysList)
	h.run(t, attacks)
}

const saysNothingFound = `{"count":0,"next":null,"previous":null,"results":[]}`
