# Targets for people and for .ci/run; `make help` lists them.

GO        ?= go
BIN       ?= bin/hubpipe
GOLANGCI  ?= golangci-lint
# How long each fuzz target runs.
FUZZTIME  ?= 20s
# How many lives of a portal `make seeds` draws; HUBPIPE_SEED=7 repeats one.
SEEDS     ?= 1000
# How long `make soak` lasts.
SOAK      ?= 20m
# Above what the slowest package needs, below what a stuck test would take.
TIMEOUT   ?= 30m
# Flags of the end-to-end benchmark: make bench BENCHFLAGS='-benchtime=3x'
BENCHFLAGS ?= -benchtime=1x

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## one static binary, bin/hubpipe
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $(BIN) .

.PHONY: test
test: ## all tests, with nothing but Go
	CGO_ENABLED=0 $(GO) test ./...

.PHONY: race
race: ## all packages with the race detector, in random order (needs a C compiler); what gains nothing by it says so and is skipped
	CGO_ENABLED=1 $(GO) test -race -shuffle=on -timeout $(TIMEOUT) ./...

.PHONY: lint
lint: ## golangci-lint with .golangci.yml
	$(GOLANGCI) run ./...

.PHONY: fmt
fmt: ## formats every file of the project
	gofmt -s -w $$(git ls-files '*.go')

.PHONY: fmt-check
fmt-check: ## fails where gofmt would change something
	@out=$$(gofmt -s -l $$(git ls-files '*.go')); \
	if [ -n "$$out" ]; then echo "gofmt -s would change:"; echo "$$out"; exit 1; fi

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each (20s)
	@set -e; grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -r -n1 dirname | sort -u | while read -r pkg; do \
		sed -nE 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/p' $$pkg/*_test.go | sort -u | while read -r target; do \
			echo "== $$pkg $$target"; \
			$(GO) test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) $$pkg </dev/null || exit 1; \
		done || exit 1; \
	done

.PHONY: seeds
seeds: ## random lives of objects and of rows, SEEDS (1000) of each, held against the truth
	CGO_ENABLED=0 HUBPIPE_SEEDS=$(SEEDS) $(GO) test -run='^TestRandom(Events|Rows)$$' -v -timeout 8h ./internal/e2e/exact

.PHONY: torture
torture: ## kills, failpoints, reconnects and bad weather, as many as docs/RELIABILITY.md promises (about a quarter of an hour)
	CGO_ENABLED=0 HUBPIPE_TORTURE=1 $(GO) test -run='^TestTorture' -v -count=1 -timeout 2h ./internal/e2e/...

.PHONY: warehouse
warehouse: ## PostgreSQL, files and tables of Iceberg while the daemon is killed 30 times each, at each step too, and PostgreSQL 5 times (needs PostgreSQL)
	CGO_ENABLED=0 HUBPIPE_WAREHOUSE=1 HUBPIPE_TEST_REQUIRE=all $(GO) test -tags iceberg -run='^TestWarehouse' -v -count=1 -timeout 1h ./internal/e2e

.PHONY: clouds
clouds: ## Google's and Microsoft's stores, as fake-gcs-server and azurite stand for them (needs both in PATH)
	CGO_ENABLED=0 HUBPIPE_TEST_REQUIRE=all $(GO) test -tags gcs,azure -run='^TestClouds$$' -v -count=1 ./daemon/destination/files

.PHONY: bench-warehouse
bench-warehouse: ## rows a second into a PostgreSQL of its own, from a million contacts (needs PostgreSQL)
	CGO_ENABLED=0 HUBPIPE_WAREHOUSE_ROWS=1000000 $(GO) test -run='^$$' -bench=Warehouse -benchtime=1x -timeout 1h ./daemon/destination/postgres

.PHONY: bench-files
bench-files: ## rows a second into files in a local folder, from a million contacts
	CGO_ENABLED=0 HUBPIPE_FILES_ROWS=1000000 $(GO) test -run='^$$' -bench=Files -benchtime=1x -timeout 1h ./daemon/destination/files

.PHONY: iceberg-build
iceberg-build: ## bin/hubpipe that writes tables of Apache Iceberg, too (92 MB)
	CGO_ENABLED=0 $(GO) build -tags iceberg -trimpath -ldflags='-s -w' -o $(BIN) .

.PHONY: iceberg
iceberg: ## builds with the tag iceberg, and its tests (needs PostgreSQL)
	CGO_ENABLED=0 $(GO) build -tags iceberg -o /dev/null .
	CGO_ENABLED=0 $(GO) vet -tags iceberg ./daemon ./daemon/destination/iceberg ./internal/e2e
	CGO_ENABLED=0 HUBPIPE_TEST_REQUIRE=all $(GO) test -tags iceberg -timeout $(TIMEOUT) ./daemon/destination/iceberg
	CGO_ENABLED=0 $(GO) test -tags iceberg -run='^(TestCheck|TestIcebergIsBuiltIn)' ./internal/cli ./daemon
	CGO_ENABLED=0 HUBPIPE_TEST_REQUIRE=all $(GO) test -tags iceberg -run='^TestWarehouseIceberg$$' -timeout $(TIMEOUT) ./internal/e2e

.PHONY: bench-iceberg
bench-iceberg: ## rows a second into tables of Iceberg in a local folder, from a million contacts
	CGO_ENABLED=0 HUBPIPE_ICEBERG_ROWS=1000000 $(GO) test -tags iceberg -run='^$$' -bench=Iceberg -benchtime=1x -timeout 1h ./daemon/destination/iceberg

.PHONY: damages
damages: ## 50 damaged stores, looked at, mended and filled again, and 10 full disks (needs root)
	CGO_ENABLED=0 HUBPIPE_DAMAGES=50 $(GO) test -run='^TestDamage' -v -timeout 1h ./daemon/store ./internal/e2e
	CGO_ENABLED=0 HUBPIPE_DISKS=10 $(GO) test -run='^TestFullDisk$$' -v -timeout 1h ./internal/e2e

.PHONY: soak
soak: ## live traffic for SOAK (20m): memory, goroutines, descriptors and store stay level
	CGO_ENABLED=0 HUBPIPE_SOAK=$(SOAK) $(GO) test -run='^TestSoak$$' -v -count=1 -timeout 6h ./internal/e2e

.PHONY: bench
bench: ## end to end against the simulator, beside the figures to reach (docs/BENCHMARKS.md)
	CGO_ENABLED=0 $(GO) test -run='^$$' -bench=EndToEnd -timeout 10m $(BENCHFLAGS) ./internal/e2e

.PHONY: bench-units
bench-units: ## the benchmarks of the single packages
	CGO_ENABLED=0 $(GO) test -run='^$$' -bench=. -benchmem $$($(GO) list ./... | grep -v /internal/e2e)

.PHONY: cover
cover: ## coverage a package, and coverage.out for go tool cover
	CGO_ENABLED=0 $(GO) test -coverprofile=coverage.out ./...
	@$(GO) tool cover -func=coverage.out | tail -n 1

.PHONY: demo
demo: ## the whole pipeline against the built-in simulator
	$(GO) run . demo

.PHONY: docs
docs: ## writes docs/KEYS.md, docs/asyncapi.json, the words of the API and the dashboard's frames in tui/testdata anew
	HUBPIPE_WRITE_DOCS=1 $(GO) test -count=1 -run='^(TestWordsAreTheCodes|TestAsyncAPI)$$' ./daemon/api
	HUBPIPE_WRITE_DOCS=1 $(GO) test -count=1 -run='^(TestWordsAreTheCodes|TestAsyncAPI)$$' ./daemon
	HUBPIPE_WRITE_DOCS=1 $(GO) test -run='^(TestKeyMap|TestFrames|TestThemes)$$' ./tui -update

.PHONY: openapi-check
openapi-check: ## the API's description by spectral's rules, and a TypeScript client of it at work (needs node and npm's registry)
	HUBPIPE_OPENAPI=1 $(GO) test -count=1 -run='^TestTypeScriptClient$$' -v ./daemon/api

.PHONY: sql-check
sql-check: ## the SQL for warehouses by the grammar of each (needs node and npm's registry)
	HUBPIPE_SQL=1 $(GO) test -count=1 -run='^TestWarehouseSQLParses$$' -v ./internal/cli

.PHONY: pictures
pictures: ## the documents' pictures of the dashboard, from the program in tmux
	HUBPIPE_PICTURES=docs/img $(GO) test -count=1 -run='^TestPictures$$' ./internal/e2e

.PHONY: tidy-check
tidy-check: ## go.mod and go.sum are tidy and what they say they are
	$(GO) mod tidy -diff
	$(GO) mod verify

.PHONY: check
check: fmt-check tidy-check build lint test race ## what a change has to pass; .ci/run adds packages and the demo

.PHONY: clean
clean: ## removes what was built here
	rm -rf bin dist coverage.out coverage.txt
