package server

import "testing"

func TestAcceptsJSON(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]bool{
		"*/*": true, "application/*": true, "application/json": true, "Application/JSON;q=0.2": true, "text/html, */*;q=0.1": true,
		"application/json; charset": true, "application/json;q=": true, `application/json;profile="a,b"`: true, "*/*;level=1=2": true,
		"application/json, application/json;v=2;q=0": true, "application/json;q=0.0, */*;q=0.001": false,
		"": false, "text/html": false, "application/json;q=0": false, "*/*;q=0.000": false, "application/xml, text/*": false, ";": false,
	} {
		if got := acceptsJSON([]string{accept}); got != want {
			t.Errorf("Accept: %s: %v, want %v", accept, got, want)
		}
	}
	if !acceptsJSON(nil) {
		t.Error("without the header nothing is accepted")
	}
}
