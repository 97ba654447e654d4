# PX360. `make help` lists the targets.

OAPI_CODEGEN = github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2
SQLC         = github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.7.0
OASDIFF      = github.com/oasdiff/oasdiff@v1.35.0
SCHEMATHESIS = schemathesis==4.32.0
BIN          = bin

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## Run server and worker on http://127.0.0.1:8000, with a private Postgres
	@go run . up

.PHONY: build
build: ## Build bin/px360
	go build -trimpath -o $(BIN)/px360 .

# The documentation tests need a browser: an installed one, or one that the script downloads.
.PHONY: test
test: ## Run every test
	browser=$$(tests/browser.sh) && PX360_TEST_BROWSER=$$browser go test -timeout 30m ./...

.PHONY: race
race: ## Run every test under the race detector
	browser=$$(tests/browser.sh) && PX360_TEST_BROWSER=$$browser go test -race -timeout 30m ./...

.PHONY: lint
lint: $(BIN)/staticcheck ## Run gofmt, go vet and staticcheck
	@files=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$files" || { echo "not formatted, run 'gofmt -w':"; echo "$$files"; exit 1; }
	go vet ./...
	$(BIN)/staticcheck ./...
	cd tests/bench && go vet ./...
	cd tests/partners/go && go vet ./...

# The versions of the linters and of Prism are in openapi/lint/package-lock.json. No package needs its install script.
CONTRACT_TOOLS = openapi/lint/node_modules
$(CONTRACT_TOOLS)/.package-lock.json: openapi/lint/package-lock.json
	@.ci/progress "installing the contract's linters and Prism, once" npm ci --prefix openapi/lint --ignore-scripts --no-audit --no-fund --silent
	@touch $@

.PHONY: lint-contract
lint-contract: $(CONTRACT_TOOLS)/.package-lock.json ## Lint the contract with Redocly CLI and Spectral, OWASP's rules included
	REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true $(CONTRACT_TOOLS)/.bin/redocly lint --config openapi/lint/redocly.yaml --lint-config error --format stylish openapi/openapi.yaml
	$(CONTRACT_TOOLS)/.bin/spectral lint --ruleset openapi/lint/spectral.yaml --fail-severity hint openapi/openapi.yaml

.PHONY: mock
mock: $(CONTRACT_TOOLS)/.package-lock.json ## Call every operation of a mock server (Prism) with the contract's examples
	go run ./openapi/check mock

.PHONY: proxy
proxy: build $(CONTRACT_TOOLS)/.package-lock.json ## Play the demo through a proxy (Prism) that validates every request and answer
	tests/with_server.sh $(BIN)/px360 tests/proxy.sh $(BIN)/px360 $(CONTRACT_TOOLS)/.bin/prism

# Arguments of the benchmark, such as BENCH="-rounds 1 -seconds 1"; see `go run . -help` in
# tests/bench.
BENCH =

$(BIN)/schemathesis:
	python3 -m venv $(BIN)/venv
	$(BIN)/venv/bin/pip install --quiet --disable-pip-version-check $(SCHEMATHESIS)
	ln -sf venv/bin/schemathesis $@

.PHONY: contract
contract: build $(BIN)/schemathesis ## Test a server against the contract with Schemathesis, as three roles
	tests/with_server.sh $(BIN)/px360 tests/contract/run.sh $(BIN)/px360 $(BIN)/schemathesis

# A directory in which the tests and the contract run leave which statuses they have produced.
STATUSES = $(BIN)/statuses

.PHONY: statuses
statuses: ## Fail if the contract documents a status that neither tests nor Schemathesis have produced
	@rm -rf $(STATUSES) && mkdir -p $(STATUSES)
	PX360_TEST_STATUSES=$(CURDIR)/$(STATUSES) go test -count=1 -timeout 30m ./tests
	PX360_TEST_STATUSES=$(CURDIR)/$(STATUSES) $(MAKE) contract
	go run ./openapi/check statuses $(STATUSES)

.PHONY: bench
bench: build ## Benchmark, each figure beside plain Postgres
	cd tests/bench && go build -o ../../$(BIN)/bench .
	$(BIN)/bench -px360 $(BIN)/px360 $(BENCH)

# A run of the chaos harness: its seed, 0 for a random one, its length, and more arguments; see `bin/chaos -help`.
SEED     = 0
DURATION = 3m
CHAOS    =

.PHONY: chaos
chaos: build ## Inject faults for DURATION, from SEED, and check that every promise was kept
	go build -o $(BIN)/chaos ./tests/chaos
	$(BIN)/chaos -px360 $(BIN)/px360 -seed $(SEED) -duration $(DURATION) $(CHAOS)

.PHONY: chaos-self-test
chaos-self-test: ## Build deliberately broken programs, and fail unless the chaos harness finds each
	go build -o $(BIN)/chaos ./tests/chaos
	$(BIN)/chaos -self-test .

# The tools are built once, outside of go.mod: the program does not depend on them.
$(BIN)/oapi-codegen: TOOL = $(OAPI_CODEGEN)
$(BIN)/oapi-codegen: TAKES = 1 minute, and sqlc 3 to 6
$(BIN)/sqlc:         TOOL = $(SQLC)
$(BIN)/sqlc:         TAKES = 3 to 6 minutes
$(BIN)/staticcheck:  TOOL = $(STATICCHECK)
$(BIN)/staticcheck:  TAKES = 1 minute
$(BIN)/oasdiff:      TOOL = $(OASDIFF)
$(BIN)/oasdiff:      TAKES = 1 minute
$(BIN)/oapi-codegen $(BIN)/sqlc $(BIN)/staticcheck $(BIN)/oasdiff:
	@GOBIN=$(CURDIR)/$(BIN) CGO_ENABLED=0 .ci/progress "building $(notdir $@), once: takes about $(TAKES)" go install $(TOOL)

# Each config is the common one and what openapi/server.yaml or openapi/client.yaml adds to it.
define generate
	(cat oapi-codegen.yaml openapi/server.yaml) > $(BIN)/server.yaml
	$(BIN)/oapi-codegen -config $(BIN)/server.yaml -package api -generate types,echo-server,strict-server -o gen/api/api.gen.go openapi/openapi.yaml
	(cat oapi-codegen.yaml openapi/client.yaml) > $(BIN)/client.yaml
	$(BIN)/oapi-codegen -config $(BIN)/client.yaml -package client -generate types,client -o gen/client/client.gen.go openapi/openapi.yaml
	$(BIN)/sqlc generate
endef

# What would otherwise be found when the server starts.
define check_sources
	@twice=$$(ls schema | grep '\.up\.sql$$' | cut -d_ -f1 | sort | uniq -d); for number in $$twice; do \
	  echo "two migrations have the number $$number, give the newer one the next free number:"; \
	  ls schema/$${number}_*.up.sql; done; test -z "$$twice"
	@go run ./openapi/check valid
endef

.PHONY: generate
generate: $(BIN)/oapi-codegen $(BIN)/sqlc ## Generate gen/ from openapi/, queries/ and schema/
	$(check_sources)
	$(generate)

# The last released contract, with which `make compatible` compares. It may be renewed until the release is tagged.
.PHONY: release-contract
release-contract: ## Keep the contract as the last released one, under its info.version
	@version=$$(sed -n 's/^  version: "\(.*\)"$$/\1/p' openapi/openapi.yaml); test -n "$$version" || { echo "openapi/openapi.yaml has no info.version"; exit 1; }; \
	! git rev-parse -q --verify "refs/tags/v$$version" >/dev/null || { echo "v$$version is released: set info.version in openapi/openapi.yaml to the next version first"; exit 1; }; \
	mkdir -p openapi/released && rm -f openapi/released/*.yaml && cp openapi/openapi.yaml openapi/released/$$version.yaml && \
	echo "openapi/released/$$version.yaml is the last released contract"

.PHONY: compatible
compatible: $(BIN)/oasdiff ## Fail if the contract breaks clients of the last release without the version that says so
	go test -tags oasdiff ./openapi/check
	go run ./openapi/check compatible

.PHONY: released
released: build $(BIN)/oapi-codegen ## Run a client of the last released contract against the server
	mkdir -p tests/released/client
	$(BIN)/oapi-codegen -generate types,client -package client -o tests/released/client/client.gen.go openapi/released/*.yaml
	cd tests/released && ../with_server.sh ../../$(BIN)/px360 go test -count=1 ./...

.PHONY: partners
partners: build ## Run clients that partners' tools generate, for TypeScript, Java, Python and Go, against the server
	tests/partners/build.sh
	tests/with_server.sh $(BIN)/px360 tests/partners/flow.sh

.PHONY: docs-assets
docs-assets: ## Update Swagger UI and ReDoc from their npm packages
	openapi/docs/renew.sh

.PHONY: verify
verify: generate ## Fail if gen/ does not match its sources
	@test -z "$$(git status --porcelain gen)" || { git status --short gen; git --no-pager diff --stat gen; \
	  echo "gen/ does not match its sources: run 'make generate' and commit what it writes"; exit 1; }

# A number of inputs, not a time: go test may fail when the time ends in the middle of an input.
FUZZTIME = 5000x

# go test can fuzz only one target of one package at a time.
.PHONY: fuzz
fuzz: ## Fuzz the parsers of unauthenticated input, each target with FUZZTIME inputs
	@set -e; for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
	  targets=$$(go test -list '^Fuzz' $$dir); \
	  for target in $$(echo "$$targets" | grep '^Fuzz'); do \
	    echo "$$dir $$target"; go test $$dir -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME); \
	  done; \
	done
