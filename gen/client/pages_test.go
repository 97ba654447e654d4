package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// hospitals serves pages of two out of the codes, and keeps the queries that it was sent.
type hospitals struct {
	codes   []string
	queries []string
}

func (h *hospitals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.queries = append(h.queries, r.URL.RawQuery)
	w.Header().Set("Content-Type", "application/json")
	page := 1
	if text := r.URL.Query().Get("page"); text != "" {
		fmt.Sscan(text, &page)
	}
	pages := slices.Collect(slices.Chunk(h.codes, 2))
	if page > len(pages) && page > 1 {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"detail": "Invalid page."}`)
		return
	}
	next, results := "null", ""
	// One page more is announced than there is, as if rows had been deleted meanwhile. The link leads to another host, as
	// it does where the server does not know its own address.
	if page <= len(pages) {
		query := r.URL.Query()
		query.Set("page", fmt.Sprint(page+1))
		next = fmt.Sprintf("%q", "http://elsewhere.test/other/?"+query.Encode())
		for i, code := range pages[page-1] {
			if i > 0 {
				results += ","
			}
			results += fmt.Sprintf(`{"code": %q}`, code)
		}
	}
	fmt.Fprintf(w, `{"count": %d, "next": %s, "previous": null, "results": [%s]}`, len(h.codes), next, results)
}

func listing(t *testing.T, codes ...string) (*Client, *hospitals) {
	t.Helper()
	h := &hospitals{codes: codes}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return newClient(t, server.URL), h
}

func TestAll(t *testing.T) {
	t.Parallel()
	for _, codes := range [][]string{nil, {"A"}, {"A", "B"}, {"A", "B", "C"}, {"A", "B", "C", "D", "E"}} {
		api, h := listing(t, codes...)
		var got []string
		for hospital, err := range api.AllHospitals(t.Context(), &ListHospitalsParams{City: Ptr("Riyadh & more")}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, hospital.Code)
		}
		if !slices.Equal(got, codes) {
			t.Errorf("got %v, want %v", got, codes)
		}
		for i, query := range h.queries {
			want := "city=Riyadh+%26+more&cursor=&page_size=100"
			if i > 0 {
				want = fmt.Sprintf("city=Riyadh+%%26+more&cursor=&page=%d&page_size=100", i+1)
			}
			if query != want {
				t.Errorf("asked for %s, want %s", query, want)
			}
		}
	}
}

// Where a page is asked for by its number, pages are counted from there.
func TestAllFromAPage(t *testing.T) {
	t.Parallel()
	api, h := listing(t, "A", "B", "C")
	for hospital, err := range api.AllHospitals(t.Context(), &ListHospitalsParams{Page: Ptr(Page(2))}) {
		if err != nil || hospital.Code != "C" {
			t.Fatal(hospital, err)
		}
	}
	if want := []string{"page=2&page_size=100", "page=3&page_size=100"}; !slices.Equal(h.queries, want) {
		t.Errorf("asked for %v, want %v", h.queries, want)
	}
}

func TestAllStopsEarly(t *testing.T) {
	t.Parallel()
	api, h := listing(t, "A", "B", "C")
	for hospital, err := range api.AllHospitals(t.Context(), nil) {
		if err != nil || hospital.Code != "A" {
			t.Fatal(hospital, err)
		}
		break
	}
	if len(h.queries) != 1 {
		t.Errorf("fetched %d pages", len(h.queries))
	}
}

// An iterator may be run again, and begins anew.
func TestAllTwice(t *testing.T) {
	t.Parallel()
	api, _ := listing(t, "A", "B", "C")
	rows, seen := api.AllHospitals(t.Context(), &ListHospitalsParams{PageSize: Ptr(PageSize(7))}), 0
	for range 2 {
		for _, err := range rows {
			if err != nil {
				t.Fatal(err)
			}
			seen++
		}
	}
	if seen != 6 {
		t.Errorf("%d rows", seen)
	}
}

func TestAllReportsErrors(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string][]func() (*http.Response, error){
		"lost":      {fails(errors.New("lost"))},
		"forbidden": {says(http.StatusForbidden)},
		"not found": {says(http.StatusNotFound)},
		"no list":   {func() (*http.Response, error) { return answer(200, "<html>"), nil }},
		"a circle": {func() (*http.Response, error) {
			return answer(200, `{"next": "http://px360.test/?cursor=&page_size=100"}`), nil
		}},
		"no link": {func() (*http.Response, error) { return answer(200, `{"next": "more"}`), nil }},
	} {
		api, _, _ := retrying(t, answers...)
		seen := 0
		for _, err := range api.AllHospitals(t.Context(), nil) {
			seen++
			if err == nil {
				t.Errorf("%s: a row without an error", name)
			}
		}
		if seen != 1 {
			t.Errorf("%s: %d rows", name, seen)
		}
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 12, 14, 9, 0, 0, 500, time.FixedZone("", 3*3600))
	id := ID{1}
	for want, params := range map[string]any{
		"": (*ListPatientsParams)(nil),
		"gender=&ordering=-created_at,mrn&page=2&primary_hospital=01000000-0000-0000-0000-000000000000&search=Ali & co": &ListPatientsParams{
			Gender: Ptr(GenderUnknown), Ordering: []ListPatientsParamsOrdering{"-created_at", "mrn"}, Page: Ptr(Page(2)),
			PrimaryHospital: &id, Search: Ptr("Ali & co"),
		},
		"since=2025-12-14T09:00:00.0000005+03:00": &ListAuditEntriesParams{Since: &at},
		"is_active=false":                         &ListUsersParams{IsActive: Ptr(false), Ordering: []ListUsersParamsOrdering{}},
	} {
		encoded := queryOf(params).Encode()
		got, err := url.QueryUnescape(encoded)
		if err != nil || got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if strings.ContainsAny(encoded, " :") {
			t.Errorf("not encoded: %s", encoded)
		}
	}
}
