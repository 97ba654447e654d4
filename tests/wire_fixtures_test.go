package tests

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// wireUnknownID is an id that no row has.
const wireUnknownID = "00000000-0000-4000-8000-000000000000"

// A fixture of fixtures.json is a step, or a group of rows that are created at one path.
type fixture struct {
	step
	Common map[string]any
	Rows   map[string]map[string]any
}

// prepare creates the fixtures of the probes.
func (r *replay) prepare() {
	t := r.s.t
	t.Helper()
	var fixtures []fixture
	readJSON(t, "fixtures.json", &fixtures)
	a := r.attempt("fixtures")
	must(t, a.login("admin", adminName, adminPassword))
	r.roles(a)
	for _, name := range []string{"C1", "C2"} {
		r.symbols["key_"+name] = "secret-" + name + "-" + r.symbols["tag"]
	}
	for _, f := range fixtures {
		if f.Rows == nil {
			must(t, a.do(f.step))
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(f.Rows)) {
			body := maps.Clone(f.Common)
			maps.Copy(body, f.Rows[name])
			must(t, a.do(step{Method: http.MethodPost, Path: f.Path, JSON: json.RawMessage(jsonText(body)), Save: map[string]string{name: "id"}}))
			r.symbols[name] = a.local[name]
		}
	}
	r.forgeTokens("admin")
}

// roles looks up the ids of the roles that probes assign.
func (r *replay) roles(a *attempt) {
	_, body, err := a.send(step{Method: http.MethodGet, Path: "/api/auth/roles/?page_size=100"})
	must(r.s.t, err)
	var list struct {
		Results []struct{ ID, Name string }
	}
	must(r.s.t, json.Unmarshal(body, &list))
	for _, role := range list.Results {
		switch role.Name {
		case "PX Admin":
			r.symbols["role_px"] = role.ID
		case "Hospital Admin":
			r.symbols["role_other"] = role.ID
		}
	}
}

// forgeTokens derives invalid tokens from the valid ones of a user.
func (r *replay) forgeTokens(of string) {
	access, refresh := r.symbols["access."+of], r.symbols["refresh."+of]
	past := time.Now().Add(-time.Hour).Unix()
	expired := map[string]any{"exp": past, "iat": past - 60}
	for name, token := range map[string]string{
		"expired":         r.resign(access, signingKey, expired),
		"expired_refresh": r.resign(refresh, signingKey, expired),
		"badsig":          access[:len(access)-6] + strings.Repeat(map[bool]string{true: "B", false: "A"}[strings.HasSuffix(access, "AAAAAA")], 6),
		"algnone":         r.resign(access, "", nil),
		"nouser":          r.resign(access, signingKey, map[string]any{"user_id": nil}),
		"notype":          r.resign(access, signingKey, map[string]any{"token_type": nil}),
	} {
		r.symbols[name+"."+of] = token
	}
}

// resign is the token with changed claims, where nil removes a claim, signed with key; unsigned
// without a key.
func (r *replay) resign(token, key string, changes map[string]any) string {
	claims := jwt.MapClaims{}
	parsed, _, err := jwt.NewParser().ParseUnverified(token, claims)
	must(r.s.t, err)
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	if key == "" {
		signed, err := jwt.NewWithClaims(jwt.SigningMethodNone, claims).SignedString(jwt.UnsafeAllowNoneSignatureType)
		must(r.s.t, err)
		return signed
	}
	again := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	again.Header = parsed.Header
	signed, err := again.SignedString([]byte(key))
	must(r.s.t, err)
	return signed
}
