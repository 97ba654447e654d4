# PX360. `make help` lists what there is to make.

OAPI_CODEGEN = github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2
SQLC         = github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
BIN          = bin

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## Serve and work on http://127.0.0.1:8000, with a Postgres of its own
	@go run . up

.PHONY: build
build: ## Build bin/px360
	go build -trimpath -o $(BIN)/px360 .

.PHONY: test
test: ## Run every test
	go test ./...

# The tools are built once, without touching go.mod: the program does not depend on them.
$(BIN)/oapi-codegen $(BIN)/sqlc:
	@echo "building $(notdir $@) (once; sqlc takes some minutes)"
	@GOBIN=$(CURDIR)/$(BIN) CGO_ENABLED=0 go install $(if $(findstring sqlc,$@),$(SQLC),$(OAPI_CODEGEN))

# $(call generate,DIR) makes the generated code under DIR. The server's config is the common one with
# an overlay; see openapi/server.overlay.yaml for what that leaves out.
define generate
	(cat oapi-codegen.yaml; echo '  overlay: {path: openapi/server.overlay.yaml}') > $(BIN)/server.yaml
	$(BIN)/oapi-codegen -config $(BIN)/server.yaml -package api -generate types,echo-server,strict-server -o gen/api/api.gen.go openapi/openapi.yaml
	$(BIN)/oapi-codegen -config oapi-codegen.yaml -package client -generate types,client -o gen/client/client.gen.go openapi/openapi.yaml
	$(BIN)/sqlc generate
endef

.PHONY: generate
generate: $(BIN)/oapi-codegen $(BIN)/sqlc ## Generate gen/ from openapi/, queries/ and schema/
	$(generate)

.PHONY: verify
verify: generate ## Fail if gen/ does not match its sources
	@test -z "$$(git status --porcelain gen)" || { git status --short gen; git --no-pager diff --stat gen; \
	  echo "gen/ does not match its sources: run 'make generate' and commit what it writes"; exit 1; }
