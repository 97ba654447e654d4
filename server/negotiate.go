package server

import (
	"errors"
	"mime"
	"strconv"
	"strings"
)

// acceptsJSON tells whether Accept headers admit JSON; none admits everything (RFC 9110, section 12.5.1).
func acceptsJSON(accept []string) bool {
	return len(accept) == 0 || quality(strings.Join(accept, ","), "application/json", "application/*", "*/*") > 0
}

// quality is how much a header such as Accept or Accept-Encoding wants something, named from the most to the least
// exact: from 0 for not at all to 1. What is named exactly counts a trifle more, so that "application/json, */*" is
// JSON. This is not goautoneg's, which ignores q=0 and the case of a media type, and does not read Accept-Encoding.
func quality(header string, names ...string) float64 {
	wanted := map[string]float64{}
	for part := range strings.SplitSeq(header, ",") {
		name, parameters, err := mime.ParseMediaType(part)
		if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
			continue
		}
		q, err := strconv.ParseFloat(parameters["q"], 64)
		if err != nil {
			q = 1
		}
		wanted[name] = max(wanted[name], q) // with other parameters it may be listed several times
	}
	for i, name := range names {
		if q, found := wanted[name]; found {
			return q * (1 - float64(i)/1000)
		}
	}
	return 0
}
