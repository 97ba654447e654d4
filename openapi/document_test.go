package openapi_test

import (
	"testing"

	yaml "github.com/oasdiff/yaml3"

	"github.com/px360/px360/openapi"
)

// TestPublishHasNoAliases: generators of clients read the published document, and some limit aliases or refuse them.
func TestPublishHasNoAliases(t *testing.T) {
	t.Parallel()
	published, err := openapi.Publish("", func(string, string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	var file yaml.Node
	if err := yaml.Unmarshal(published.YAML, &file); err != nil {
		t.Fatal(err)
	}
	var check func(n *yaml.Node)
	check = func(n *yaml.Node) {
		if n.Kind == yaml.AliasNode || n.Anchor != "" {
			t.Errorf("line %d: alias or anchor %s%s", n.Line, n.Value, n.Anchor)
		}
		for _, part := range n.Content {
			check(part)
		}
	}
	check(&file)
}
