package client

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"testing"
)

// hospitals serves a list of the codes in pages of two.
func hospitals(t *testing.T, codes []string) *ClientWithResponses {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		page := 1
		if text := r.URL.Query().Get("page"); text != "" {
			fmt.Sscan(text, &page)
		}
		pages := slices.Collect(slices.Chunk(codes, 2))
		if page > len(pages) && page > 1 {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"detail": "Invalid page."}`)
			return
		}
		next, results := "null", ""
		// The last page announces one more page than there is, as if rows had been deleted
		// meanwhile.
		if page <= len(pages) {
			next = `"http://px360.test/?page=next"`
			for i, code := range pages[page-1] {
				if i > 0 {
					results += ","
				}
				results += fmt.Sprintf(`{"code": %q}`, code)
			}
		}
		fmt.Fprintf(w, `{"count": %d, "next": %s, "previous": null, "results": [%s]}`, len(codes), next, results)
	}))
	t.Cleanup(server.Close)
	api, err := NewClientWithResponses(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

func TestAll(t *testing.T) {
	t.Parallel()
	for _, codes := range [][]string{nil, {"A"}, {"A", "B"}, {"A", "B", "C"}, {"A", "B", "C", "D", "E"}} {
		api := hospitals(t, codes)
		var got []string
		for hospital, err := range All(t.Context(), func(ctx context.Context, page *Page) (*ListHospitalsResponse, error) {
			return api.ListHospitalsWithResponse(ctx, &ListHospitalsParams{Page: page})
		}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, hospital.Code)
		}
		if !slices.Equal(got, codes) {
			t.Errorf("got %v, want %v", got, codes)
		}
	}
}

func TestAllStopsEarly(t *testing.T) {
	t.Parallel()
	api, fetched := hospitals(t, []string{"A", "B", "C"}), 0
	for hospital, err := range All(t.Context(), func(ctx context.Context, page *Page) (*ListHospitalsResponse, error) {
		fetched++
		return api.ListHospitalsWithResponse(ctx, &ListHospitalsParams{Page: page})
	}) {
		if err != nil || hospital.Code != "A" {
			t.Fatal(hospital, err)
		}
		break
	}
	if fetched != 1 {
		t.Errorf("fetched %d pages", fetched)
	}
}

func TestAllReportsErrors(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	forbidden := answer(http.StatusForbidden, "")
	html := answer(http.StatusOK, "")
	for name, fetch := range map[string]func(context.Context, *Page) (*ListHospitalsResponse, error){
		"lost": func(context.Context, *Page) (*ListHospitalsResponse, error) { return nil, lost },
		"forbidden": func(context.Context, *Page) (*ListHospitalsResponse, error) {
			return &ListHospitalsResponse{HTTPResponse: forbidden}, nil
		},
		"no list": func(context.Context, *Page) (*ListHospitalsResponse, error) {
			return &ListHospitalsResponse{HTTPResponse: html}, nil
		},
	} {
		seen := 0
		for _, err := range All(t.Context(), fetch) {
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

// Every list of the contract must have its method in pages.go.
func TestEveryListHasRows(t *testing.T) {
	t.Parallel()
	lists := regexp.MustCompile(`^List\w+Response$`)
	found, methods := map[string]bool{}, map[string]bool{}
	for _, name := range []string{"client.gen.go", "pages.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for node := range ast.Preorder(file) {
			switch node := node.(type) {
			case *ast.TypeSpec:
				if lists.MatchString(node.Name.Name) {
					found[node.Name.Name] = true
				}
			case *ast.FuncDecl:
				if node.Recv != nil && node.Name.Name == "Rows" {
					methods[node.Recv.List[0].Type.(*ast.StarExpr).X.(*ast.Ident).Name] = true
				}
			}
		}
	}
	for name := range found {
		if !methods[name] {
			t.Errorf("%s has no method Rows: add it to pages.go", name)
		}
	}
	if len(found) == 0 {
		t.Error("the contract has no lists")
	}
}
