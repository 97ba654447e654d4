package tests

import (
	"fmt"
	"strings"
)

const (
	departmentsPath = "/api/organizations/departments/"
	profilePath     = "/api/auth/users/update_profile/"
	patientsPath    = "/api/organizations/patients/"
	journeysPath    = "/api/journeys/instances/"
)

func get(path, header string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + header + "\r\n\r\n"
}

func chunkedHead(path, token string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n" + bearer(token) + "\r\n\r\n"
}

// attacks hold, trickle, flood, nest, multiply and fan out.
var attacks = []struct {
	name        string
	needsLimits bool // the defence is a rate limit
	run         func(*target)
}{
	{"connections that send nothing", false, func(a *target) { a.hold(300, "") }},
	{"heads that do not end", false, func(a *target) { a.hold(200, "GET /api/ HTTP/1.1\r\nHost: x\r\n") }},
	{"bodies of users", false, func(a *target) { a.hold(150, post(oneEventPath, bearer(a.px.access), 200, "{")) }},
	{"bodies of deactivated users", false, func(a *target) { a.hold(150, post(oneEventPath, bearer(a.deactivated()), 200, "{")) }},
	{"bodies of logins", false, func(a *target) { a.hold(200, post(loginPath, "X-A: b", 200, "{")) }},
	{"bodies of wrong keys", false, func(a *target) { a.hold(100, post(oneEventPath, "X-API-Key: nobody's", 200, "{")) }},
	{"bodies of survey pages", false, func(a *target) { a.hold(150, post("/s/AAAAAAAAAAAAAAAAAAAAAA/?page=1", "A: b", 200, "q")) }},
	{"bodies of bulks", false, func(a *target) { a.hold(60, post(manyEventsPath, bearer(a.px.access), 5<<20-1, "{")) }},
	{"bodies in chunks", false, func(a *target) { a.hold(80, chunkedHead(manyEventsPath, a.px.access)+"5\r\n{") }},
	{"bodies that wait to be asked for", false, func(a *target) {
		a.hold(80, post(manyEventsPath, bearer(a.px.access)+"\r\nExpect: 100-continue", 5<<20-1, ""))
	}},
	{"files that are not read", false, func(a *target) { a.hold(150, get(assetPath, "A: b")) }},
	{"lists that are not read", false, func(a *target) {
		a.hold(100, get("/api/accounts/roles/?page_size=100", bearer(a.px.access)))
	}},
	{"connections that stay", false, func(a *target) { a.hold(500, get("/healthz/", "A: b")) }},
	{"pipelined requests", false, func(a *target) { a.hold(10, strings.Repeat(get(ownPath, bearer(a.px.access)), 100)) }},

	{"heads byte by byte", false, func(a *target) { a.trickle(60, "GET /api/ HTTP/1.1\r\nHost: x\r\nA: ", strings.Repeat("a", 5000)) }},
	{"bodies byte by byte", false, func(a *target) {
		a.trickle(60, post(oneEventPath, bearer(a.px.access), 8000, "{"), strings.Repeat(" ", 5000))
	}},
	{"chunks of a byte", false, func(a *target) {
		a.trickle(40, chunkedHead(manyEventsPath, a.px.access)+"2000\r\n{", strings.Repeat(" ", 5000))
	}},
	{"files read byte by byte", false, func(a *target) { a.readSlowly(60, get(assetPath, "A: b")) }},

	{"guesses at one name", false, func(a *target) {
		a.flood(func(int) attackRequest {
			return attackRequest{"POST", loginPath, "", fields{"username": a.px.username, "password": "wrong"}, nil}
		})
	}},
	{"guesses at many names", true, func(a *target) {
		a.flood(func(i int) attackRequest {
			return attackRequest{"POST", loginPath, "", fields{"username": fmt.Sprint("nobody", i), "password": "wrong"}, nil}
		})
	}},
	{"wrong keys", false, func(a *target) {
		a.flood(func(i int) attackRequest {
			return attackRequest{"POST", oneEventPath, "", sourceEvent("his"), []string{"X-API-Key", fmt.Sprint("wrong", i)}}
		})
	}},
	{"forged tokens", false, func(a *target) {
		a.flood(func(i int) attackRequest {
			return attackRequest{"GET", ownPath, fmt.Sprintf("%s%d", a.px.access, i), nil, nil}
		})
	}},
	{"wrong links to surveys", false, func(a *target) {
		a.flood(func(i int) attackRequest {
			return attackRequest{"GET", fmt.Sprintf("/s/%021dA", i), "", nil, nil}
		})
	}},
	{"scores of two years", false, func(a *target) {
		a.flood(func(int) attackRequest {
			return attackRequest{"GET", "/api/surveys/scores/?group_by=day&from=2025-01-01&to=2026-12-31", a.px.access, nil, nil}
		})
	}},
	{"files", false, func(a *target) {
		a.flood(func(int) attackRequest { return attackRequest{"GET", assetPath, "", nil, nil} })
	}},
	{"forged addresses", false, func(a *target) {
		a.flood(func(i int) attackRequest {
			return attackRequest{"POST", loginPath, "", "{}", []string{"X-Forwarded-For", fmt.Sprintf("10.0.%d.%d", i/250%250, i%250)}}
		})
	}},
	{"searches with many terms", false, func(a *target) {
		terms := strings.TrimSuffix(strings.Repeat("a+b+", 49), "+")
		a.flood(func(int) attackRequest {
			return attackRequest{"GET", patientsPath + "?search=" + terms, a.px.access, nil, nil}
		})
	}},
	{"lists in odd orders", false, func(a *target) {
		a.flood(func(int) attackRequest {
			return attackRequest{"GET", patientsPath + "?page_size=100&ordering=-created_at,last_name,-updated_at", a.px.access, nil, nil}
		})
	}},
	{"pages that are not there", false, func(a *target) {
		a.flood(func(i int) attackRequest {
			return attackRequest{"GET", fmt.Sprint(patientsPath, "?page=", 1_000_000+i), a.px.access, nil, nil}
		})
	}},
	{"changes of one row", false, func(a *target) {
		path := departmentsPath + a.Department(unique("W")).String() + "/"
		a.flood(func(i int) attackRequest {
			return attackRequest{"PATCH", path, a.px.access, fields{"name": fmt.Sprint("Ward ", i)}, nil}
		})
	}},
	{"departments that are each other's parent", false, func(a *target) {
		pair := [2]string{a.Department(unique("W")).String(), a.Department(unique("W")).String()}
		a.flood(func(i int) attackRequest {
			return attackRequest{"PATCH", departmentsPath + pair[i%2] + "/", a.px.access, fields{"parent": pair[1-i%2]}, nil}
		})
	}},
	{"one idempotency key", false, func(a *target) {
		a.flood(func(int) attackRequest {
			return attackRequest{"POST", oneEventPath, a.px.access, sourceEvent("flood"), []string{"Idempotency-Key", "one"}}
		})
	}},
	{"bulks", false, func(a *target) {
		bulk := jsonText(sourceBulk(strings.Split(strings.Repeat("flood ", 999)+"flood", " ")...))
		a.flood(func(int) attackRequest { return attackRequest{"POST", manyEventsPath, a.px.access, bulk, nil} })
	}},
	{"bulks of many sources", false, func(a *target) {
		a.flood(func(i int) attackRequest {
			var sources []string
			for j := range 200 {
				sources = append(sources, fmt.Sprintf("fan-%d-%d", i, j))
			}
			return attackRequest{"POST", manyEventsPath, a.px.access, sourceBulk(sources...), nil}
		})
	}},
	{"methods and paths that are not there", false, func(a *target) {
		a.flood(func(i int) attackRequest {
			return attackRequest{[]string{"TRACE", "BREW", "OPTIONS", "DELETE"}[i%4], fmt.Sprint("/api/", i, "/"), "", nil, nil}
		})
	}},
	{"long addresses", false, func(a *target) {
		a.flood(func(int) attackRequest {
			return attackRequest{"GET", patientsPath + "?" + strings.Repeat("a=b&", 1900), a.px.access, nil, nil}
		})
	}},
	{"large heads", false, func(a *target) {
		a.flood(func(int) attackRequest {
			return attackRequest{"GET", ownPath, a.px.access, nil, []string{"Cookie", strings.Repeat("a=b; ", 6000)}}
		})
	}},

	{"deep nesting", false, func(a *target) {
		deep := `{"metadata": ` + strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000) + "}"
		a.flood(func(int) attackRequest { return attackRequest{"POST", journeysPath, a.px.access, deep, nil} })
	}},
	{"a nested choice", false, func(a *target) {
		choice := `{"language": ` + strings.Repeat("[", 60) + `"` + strings.Repeat("a", 900_000) + `"` + strings.Repeat("]", 60) + "}"
		a.flood(func(int) attackRequest { return attackRequest{"PATCH", profilePath, a.px.access, choice, nil} })
	}},
	{"many members", false, func(a *target) {
		members := `{"events": [` + strings.Repeat("{},", 499_999) + "{}]}"
		a.flood(func(int) attackRequest { return attackRequest{"POST", manyEventsPath, a.px.access, members, nil} })
	}},
	{"many names", false, func(a *target) {
		names := `{"events": [` + strings.Repeat(`{"a":1,"a":2},`, 200_000) + "{}]}"
		a.flood(func(int) attackRequest { return attackRequest{"POST", manyEventsPath, a.px.access, names, nil} })
	}},
	{"long numbers", false, func(a *target) {
		number := `{"capacity": ` + strings.Repeat("9", 900_000) + "}"
		a.flood(func(int) attackRequest { return attackRequest{"POST", departmentsPath, a.px.access, number, nil} })
	}},
	{"large payloads", false, func(a *target) {
		event := fields{"source_system": "flood", "event_code": "E1", "encounter_id": "E", "payload_json": fields{"a": strings.Repeat("x", 65_000)}}
		bulk := jsonText(fields{"events": []any{event, event, event, event, event, event, event, event, event, event}})
		a.flood(func(i int) attackRequest {
			if i%2 == 0 {
				return attackRequest{"GET", "/api/integrations/events/?page_size=100", a.px.access, nil, nil}
			}
			return attackRequest{"POST", manyEventsPath, a.px.access, bulk, nil}
		})
	}},
	{"a length and chunks", false, func(a *target) {
		a.hold(100, "POST "+oneEventPath+" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"+bearer(a.px.access)+"\r\n\r\n0\r\n\r\n")
	}},
}
