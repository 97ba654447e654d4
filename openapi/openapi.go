// Package openapi embeds the contract of the API: openapi.yaml, written by hand, from which the
// server's interface, the client and the documentation are made.
package openapi

import (
	_ "embed"

	"github.com/getkin/kin-openapi/openapi3"
)

// YAML is the contract as it is written.
//
//go:embed openapi.yaml
var YAML []byte

// Load reads the contract and checks that it is a valid OpenAPI document.
func Load() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(YAML)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(loader.Context, openapi3.EnableExamplesValidation())
}
