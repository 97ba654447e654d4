# PX360. `make help` lists the targets.

OAPI_CODEGEN = github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2
SQLC         = github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.7.0
SCHEMATHESIS = schemathesis==4.32.0
BIN          = bin

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## Run server and worker on http://127.0.0.1:8000, with a private Postgres
	@go run . up

.PHONY: build
build: ## Build bin/px360
	go build -trimpath -o $(BIN)/px360 .

# The documentation tests need a browser: an installed one, or one that the script downloads.
.PHONY: test
test: ## Run every test
	browser=$$(tests/browser.sh) && PX360_TEST_BROWSER=$$browser go test ./...

.PHONY: race
race: ## Run every test under the race detector
	browser=$$(tests/browser.sh) && PX360_TEST_BROWSER=$$browser go test -race ./...

.PHONY: lint
lint: $(BIN)/staticcheck ## Run gofmt, go vet and staticcheck
	@files=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$files" || { echo "not formatted, run 'gofmt -w':"; echo "$$files"; exit 1; }
	go vet ./...
	$(BIN)/staticcheck ./...
	cd tests/bench && go vet ./...
	cd tests/partners/go && go vet ./...

# Arguments of the benchmark, such as BENCH="-rounds 1 -seconds 1"; see `go run . -help` in
# tests/bench.
BENCH =

$(BIN)/schemathesis:
	python3 -m venv $(BIN)/venv
	$(BIN)/venv/bin/pip install --quiet --disable-pip-version-check $(SCHEMATHESIS)
	ln -sf venv/bin/schemathesis $@

.PHONY: contract
contract: build $(BIN)/schemathesis ## Test a server against the contract with Schemathesis
	tests/contract.sh $(BIN)/px360 $(BIN)/schemathesis

.PHONY: bench
bench: build ## Benchmark, each figure beside plain Postgres
	cd tests/bench && go build -o ../../$(BIN)/bench .
	$(BIN)/bench -px360 $(BIN)/px360 $(BENCH)

# The tools are built once, outside of go.mod: the program does not depend on them.
$(BIN)/oapi-codegen: TOOL = $(OAPI_CODEGEN)
$(BIN)/sqlc:         TOOL = $(SQLC)
$(BIN)/staticcheck:  TOOL = $(STATICCHECK)
$(BIN)/oapi-codegen $(BIN)/sqlc $(BIN)/staticcheck:
	@echo "building $(notdir $@), once; sqlc takes some minutes"
	@GOBIN=$(CURDIR)/$(BIN) CGO_ENABLED=0 go install $(TOOL)

# Each config is the common one and what openapi/server.yaml or openapi/client.yaml adds to it.
define generate
	(cat oapi-codegen.yaml openapi/server.yaml) > $(BIN)/server.yaml
	$(BIN)/oapi-codegen -config $(BIN)/server.yaml -package api -generate types,echo-server,strict-server -o gen/api/api.gen.go openapi/openapi.yaml
	(cat oapi-codegen.yaml openapi/client.yaml) > $(BIN)/client.yaml
	$(BIN)/oapi-codegen -config $(BIN)/client.yaml -package client -generate types,client -o gen/client/client.gen.go openapi/openapi.yaml
	$(BIN)/sqlc generate
endef

.PHONY: generate
generate: $(BIN)/oapi-codegen $(BIN)/sqlc ## Generate gen/ from openapi/, queries/ and schema/
	$(generate)

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
