package openapi

import (
	"bytes"
	"embed"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	yaml "github.com/oasdiff/yaml3"
)

// Docs holds the pages that show the contract, under docs/, and what they load. Files that end in .gz
// are packed.
//
//go:embed docs/*.html docs/*.js docs/*.css docs/*.svg docs/*.txt docs/*.gz
var Docs embed.FS

// A Document is the contract as it is published: the same content in two spellings, with everything in
// the order in which it is written.
type Document struct{ YAML, JSON []byte }

// Publish renders the contract for readers. It adds about to the description of the API, and to each
// operation's what note says of an operation with that permission and rate limit.
func Publish(about string, note func(permission, rateLimit string) string) (Document, error) {
	// Nodes keep the order of the file, which readers see: the list of operations, and a patient's
	// properties from the id on. Go's maps, and openapi3.T with them, would give it up.
	var file yaml.Node
	if err := yaml.Unmarshal(YAML, &file); err != nil {
		return Document{}, err
	}
	root := expanded(file.Content[0])
	file.Content[0] = root
	describe(member(root, "info"), about)
	paths := member(root, "paths")
	for i := 1; i < len(paths.Content); i += 2 {
		for j := 1; j < len(paths.Content[i].Content); j += 2 {
			if operation := paths.Content[i].Content[j]; member(operation, "operationId") != nil {
				describe(operation, note(text(operation, "x-px360-permission"), text(operation, "x-px360-rate-limit")))
			}
		}
	}
	inYAML, inJSON := &bytes.Buffer{}, &bytes.Buffer{}
	y := yaml.NewEncoder(inYAML)
	y.SetIndent(2)
	if err := y.Encode(&file); err != nil {
		return Document{}, err
	}
	if err := writeJSON(jsontext.NewEncoder(inJSON), root); err != nil {
		return Document{}, err
	}
	return Document{YAML: inYAML.Bytes(), JSON: inJSON.Bytes()}, nil
}

// expanded is a node with what its aliases stand for in their places: not every reader of YAML takes aliases, and JSON
// has none.
func expanded(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return expanded(n.Alias)
	}
	whole := *n
	whole.Anchor, whole.Content = "", make([]*yaml.Node, len(n.Content))
	for i, part := range n.Content {
		whole.Content[i] = expanded(part)
	}
	return &whole
}

// describe adds a paragraph to an object's description.
func describe(object *yaml.Node, paragraph string) {
	d := member(object, "description")
	if d == nil {
		d = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str"}
		object.Content = append(object.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "description"}, d)
	}
	d.Value = strings.TrimLeft(strings.TrimRight(d.Value, "\n")+"\n\n"+paragraph, "\n")
	d.Style = yaml.LiteralStyle
}

// member is the value of a mapping's member, nil if it has none of that name.
func member(object *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(object.Content); i += 2 {
		if object.Content[i].Value == name {
			return object.Content[i+1]
		}
	}
	return nil
}

func text(object *yaml.Node, name string) string {
	if n := member(object, name); n != nil {
		return n.Value
	}
	return ""
}

// writeJSON writes a node. The contract keeps to what both languages have: anything else is an error.
func writeJSON(out *jsontext.Encoder, n *yaml.Node) error {
	switch n.Kind {
	case yaml.MappingNode:
		return writeParts(out, n, jsontext.BeginObject, jsontext.EndObject)
	case yaml.SequenceNode:
		return writeParts(out, n, jsontext.BeginArray, jsontext.EndArray)
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!str":
			return out.WriteToken(jsontext.String(n.Value))
		case "!!null":
			return out.WriteToken(jsontext.Null)
		case "!!bool", "!!int", "!!float":
			return out.WriteValue(jsontext.Value(n.Value))
		}
	}
	return fmt.Errorf("line %d: %s %q has no JSON", n.Line, n.ShortTag(), n.Value)
}

func writeParts(out *jsontext.Encoder, n *yaml.Node, begin, end jsontext.Token) error {
	if err := out.WriteToken(begin); err != nil {
		return err
	}
	for i, part := range n.Content {
		var err error
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			err = out.WriteToken(jsontext.String(part.Value)) // names are strings in JSON, whatever they look like
		} else {
			err = writeJSON(out, part)
		}
		if err != nil {
			return err
		}
	}
	return out.WriteToken(end)
}
