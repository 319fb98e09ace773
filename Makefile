# Every target is plain go underneath: nothing here is needed to build or test.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c

GO       ?= go
TOOL     := $(GO) tool -modfile=tools/go.mod
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
BIN      := bin/mangrove
DATA     ?= ./data
LISTEN   ?= 127.0.0.1:5984
FUZZTIME ?= 30s
BENCH    ?= .
COUNT    ?= 6
PLATFORMS := linux/arm64 linux/arm darwin/arm64 darwin/amd64 windows/amd64

.DEFAULT_GOAL := all

.PHONY: all
all: fmt-check vet staticcheck test ## format check, vet, staticcheck, tests (what make does alone)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/mangrove, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/mangrove

.PHONY: run
run: build ## build and run a node (DATA=./data LISTEN=127.0.0.1:5984)
	@echo 'Node at http://$(LISTEN)/, data in $(DATA). Ctrl-C stops it.'
	@if grep -qs '^ *[^;#=]* *= *-' '$(DATA)/mangrove.ini'; then \
		echo 'Log in with the administrator shown at the first start:'; \
		echo '  curl -u admin http://$(LISTEN)/_all_dbs'; \
		echo 'Password lost? Write "admin = a new one" under [admins] in $(DATA)/mangrove.ini'; \
	elif [ -n "$${COUCHDB_USER:-}" ]; then \
		echo "Log in as the administrator \"$$COUCHDB_USER\" with the password given:"; \
		echo "  curl -u $$COUCHDB_USER http://$(LISTEN)/_all_dbs"; \
	else \
		echo 'The administrator "admin" and a password are shown below, this once; then'; \
		echo '  curl -u admin http://$(LISTEN)/_all_dbs'; \
	fi
	@exec $(BIN) serve --data '$(DATA)' --listen '$(LISTEN)'

.PHONY: test
test: ## all tests
	$(GO) test -count=1 -shuffle=on -timeout 10m ./...

.PHONY: race
race: ## all tests with the race detector (needs a C compiler)
	@command -v $${CC:-gcc} >/dev/null || { echo 'make race needs a C compiler: apt-get install gcc libc6-dev'; exit 1; }
	CGO_ENABLED=1 $(GO) test -race -shuffle=on -timeout 20m ./...

.PHONY: meta
meta: ## random replication scenarios (SEED= SCENARIOS=2000 OPS=24, or OPSFILE= to play one again)
	MANGROVE_META_SEED='$(SEED)' MANGROVE_META_SCENARIOS='$(or $(SCENARIOS),2000)' MANGROVE_META_OPS='$(OPS)' \
	MANGROVE_META_OPSFILE='$(abspath $(OPSFILE))' $(GO) test -v -count=1 -timeout 2h \
		-run '$(if $(OPSFILE),^TestOpsFile$$,^Test(Metamorphic|Relations)$$)' ./integration/metamorphic

.PHONY: crash
crash: ## kill a writing node again and again: nothing acknowledged is lost
	$(GO) test -v -count=1 -timeout 30m -run '^TestCrash' ./integration

.PHONY: torn
torn: ## open data whose newest files were cut or zeroed at the end
	$(GO) test -v -count=1 -timeout 30m -run '^TestTornTail' ./integration

.PHONY: fulldisk
fulldisk: ## fill the disk under a writing node
	$(GO) test -v -count=1 -timeout 30m -run '^TestFullDisk' ./integration

.PHONY: clients
clients: ## a day's work with PouchDB, nano (both need Node.js) and kivik
	$(GO) test -v -count=1 -timeout 10m ./integration/clients

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s), one at a time
	@for pkg in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -h '^func Fuzz' $$pkg/*_test.go | sed 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/' | sort); do \
			echo "== $$pkg $$target"; \
			$(GO) test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) $$pkg; \
		done; \
	done

.PHONY: bench
bench: ## all benchmarks, summed up by benchstat (BENCH=regexp COUNT=6)
	@mkdir -p bin
	$(GO) test -run='^$$' -bench='$(BENCH)' -benchmem -count=$(COUNT) ./... | tee bin/bench.txt
	$(TOOL) benchstat bin/bench.txt

.PHONY: cover
cover: ## test coverage by function, bin/cover.html by line
	@mkdir -p bin
	$(GO) test -coverpkg=./... -coverprofile=bin/cover.out ./...
	$(GO) tool cover -html=bin/cover.out -o bin/cover.html
	$(GO) tool cover -func=bin/cover.out | tail -n 1

.PHONY: lint
lint: fmt-check vet staticcheck deadcode tidy-check ## everything that reads the code without running it

.PHONY: vet
vet: ## go vet
	$(GO) vet ./...

.PHONY: staticcheck
staticcheck: ## staticcheck
	$(TOOL) staticcheck ./...

.PHONY: deadcode
deadcode: ## functions that nothing reaches, tests included
	@out=$$($(TOOL) deadcode -test ./...); if [ -n "$$out" ]; then echo "$$out"; exit 1; fi

.PHONY: fmt
fmt: ## format the code
	$(TOOL) gofumpt -w .

.PHONY: fmt-check
fmt-check: ## fail if the code is not formatted
	@out=$$($(TOOL) gofumpt -l .); if [ -n "$$out" ]; then echo "not formatted, run make fmt:"; echo "$$out"; exit 1; fi

.PHONY: tidy-check
tidy-check: ## fail if go.mod or go.sum are not tidy
	$(GO) mod tidy -diff
	cd tools && $(GO) mod tidy -diff

.PHONY: cross
cross: ## build for every platform without cgo
	@for p in $(PLATFORMS); do \
		echo "build $$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} GOARM=7 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/cross/$${p%/*}-$${p#*/}/ ./cmd/mangrove; \
	done

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
