package tests

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/getkin/kin-openapi/openapi3"
)

// compareShape lists where an answer has other members than its example, or values of other types.
// Null matches a value if the schema is nullable. With full, a list with items in the example must
// have items, and an enum must have the example's value; otherwise they may differ, as between the
// rows of a list.
func compareShape(at string, schema *openapi3.SchemaRef, example, got any, full bool) []string {
	whole := mergedSchema(schema)
	if whole.Type == nil && len(whole.Properties) == 0 { // any JSON
		return nil
	}
	if example == nil || got == nil {
		if example != got && !whole.Nullable {
			return []string{fmt.Sprintf("%s is %s, the example has %s, and the schema no null", at, jsonText(got), jsonText(example))}
		}
		return nil
	}
	wrong := []string{fmt.Sprintf("%s is %s, the example has %s", at, jsonText(got), jsonText(example))}
	switch want := example.(type) {
	case map[string]any:
		if have, ok := got.(map[string]any); ok {
			return compareShapes(at, whole, want, have, full)
		}
	case []any:
		have, ok := got.([]any)
		switch {
		case !ok, full && (len(want) > 0) != (len(have) > 0):
			return wrong
		case len(want) == 0 || len(have) == 0:
			return nil
		}
		var all []string
		for i := range have {
			all = append(all, compareShape(at+itemName(i), whole.Items, want[0], have[i], false)...)
		}
		return all
	default:
		if full && len(whole.Enum) > 0 && example != got {
			return wrong
		}
		if fmt.Sprintf("%T", example) == fmt.Sprintf("%T", got) {
			return nil
		}
	}
	return wrong
}

func compareShapes(at string, schema *openapi3.Schema, example, got map[string]any, full bool) []string {
	var wrong []string
	all := maps.Clone(example)
	maps.Copy(all, got)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		want, shown := example[name]
		have, there := got[name]
		member, known := schema.Properties[name]
		switch {
		case !known && schema.AdditionalProperties.Schema == nil:
			wrong = append(wrong, fmt.Sprintf("%s.%s is not in the schema", at, name))
		case !known:
		case !shown:
			wrong = append(wrong, fmt.Sprintf("%s.%s is not in the example", at, name))
		case !there:
			wrong = append(wrong, fmt.Sprintf("%s.%s is only in the example", at, name))
		default:
			wrong = append(wrong, compareShape(at+"."+name, member, want, have, full)...)
		}
	}
	return wrong
}

// mergedSchema merges the allOf parts of a schema.
func mergedSchema(ref *openapi3.SchemaRef) *openapi3.Schema {
	if len(ref.Value.AllOf) == 0 {
		return ref.Value
	}
	merged := *ref.Value
	merged.Properties, merged.Required = openapi3.Schemas{}, nil
	for _, part := range ref.Value.AllOf {
		p := mergedSchema(part)
		if merged.Type == nil {
			merged.Type, merged.Format, merged.Enum, merged.AdditionalProperties = p.Type, p.Format, p.Enum, p.AdditionalProperties
		}
		maps.Copy(merged.Properties, p.Properties)
		merged.Required = append(merged.Required, p.Required...)
	}
	maps.Copy(merged.Properties, ref.Value.Properties)
	merged.Required = append(merged.Required, ref.Value.Required...)
	return &merged
}

// decodePlain decodes an example with encoding/json, so that its Go types are those of a decoded
// answer.
func decodePlain(example any) (value any) {
	_ = json.Unmarshal([]byte(jsonText(example)), &value)
	return value
}
