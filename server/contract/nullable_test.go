package contract

import (
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/px360/px360/openapi"
)

// Of a pointer, the server cannot tell whether a body has null or nothing: a PATCH with null would change nothing.
func TestNullInChangesIsTold(t *testing.T) {
	t.Parallel()
	doc, err := openapi.Load()
	if err != nil {
		t.Fatal(err)
	}
	nullable := 0
	var check func(operation string, s *openapi3.Schema)
	check = func(operation string, s *openapi3.Schema) {
		for _, part := range s.AllOf {
			check(operation, part.Value)
		}
		for name, property := range s.Properties {
			if !property.Value.Nullable {
				continue
			}
			nullable++
			if of, _ := property.Value.Extensions["x-go-type"].(string); !strings.HasPrefix(of, "nullable.Nullable[") {
				t.Errorf("%s: %s may be null and has no x-go-type nullable.Nullable[…]", operation, name)
			}
		}
	}
	for _, item := range doc.Paths.Map() {
		for method, o := range item.Operations() {
			if method == http.MethodPut || method == http.MethodPatch {
				check(o.OperationID, o.RequestBody.Value.Content["application/json"].Schema.Value)
			}
		}
	}
	if nullable == 0 {
		t.Error("no change takes null")
	}
}
