# The targets are explained by `make` alone; CONTRIBUTING.md says more.
SHELL := bash
.DEFAULT_GOAL := help
STACK := test/stack
# the commit, also for a clone whose owner is another user (git then refuses to be asked by go itself)
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
SCRIPTS = $(shell find . -name '*.sh' -not -path './build/*') .ci/run
# packages whose tests need no server and no heavy library: these run under the race detector
RACE = ./batch/... ./configs/... ./schemas/... ./objects/... ./obs/... ./cleanse/... ./partitioner/... ./pipeline/... ./jobs/...
# the test binaries hold DuckDB and librdkafka: without debug information they link in half the time; lint runs vet
LINK = -vet=off -ldflags '-s -w'
# what make bench measures: the whole of it with BENCH_N records, or packages by themselves (BENCH=./schemas BENCH_TIME=1s)
BENCH = ./bench
BENCH_N = 3000000
BENCH_TIME = 1x
BENCH_COUNT = 1
# how long make chaos goes on with fresh seeds, unless SEEDS names some
MINUTES = 5
SEEDS =
KINDS =
# how many clicks make day loads, in how many commits
RECORDS = 20000000
COMMITS = 2000

.PHONY: help build demo test day system-clicks system-ratings system-visitor-spend system-retail chaos sim race test-engines lint bench bench-jobs fmt generate fetch clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' Makefile

build: ## build bin/lakeloader
	go build -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/lakeloader ./cmd/lakeloader

demo: build ## run the main job on an embedded Kafka: load 200,000 clicks into a local lake and verify them
	@dir=$$(mktemp -d) && set -x && \
	bin/lakeloader demo clicks --records 200000 --dir "$$dir" && \
	bin/lakeloader verify -c "$$dir/lakeloader.yaml" && \
	{ set +x; } 2>/dev/null && echo "The lake is in $$dir; try: bin/lakeloader query -c $$dir/lakeloader.yaml 'SELECT count(*) FROM clicks'"

test: ## run all tests, with the real servers that they need (downloads about 600 MB once)
	@$(STACK)/fetch.sh & fetched=$$!; go build -tags stack ./... || { wait; exit 1; }; wait $$fetched
	$(STACK)/run.sh go test -p 2 $(LINK) -count=1 -timeout 20m -tags stack ./...

# a system runs on real servers with as many records of its main topic
SYSTEM_RECORDS = 200000

system-clicks: build ## run the published system clicks on real servers, SYSTEM_RECORDS records, and verify its lake
	$(STACK)/run.sh $(STACK)/system.sh clicks --records $(SYSTEM_RECORDS)

system-ratings: build ## the same for ratings, with a MariaDB, Debezium and OpenSearch (downloads about 250 MB more)
	$(STACK)/mariadb.sh fetch
	$(STACK)/opensearch.sh fetch
	$(STACK)/connect.sh fetch
	$(STACK)/run.sh $(STACK)/system.sh ratings --records $(SYSTEM_RECORDS)

system-visitor-spend: build ## the same for visitor-spend
	$(STACK)/run.sh $(STACK)/system.sh visitor-spend --records $(SYSTEM_RECORDS)

system-retail: build ## the same for retail, with a PostgreSQL and Debezium (downloads about 100 MB more)
	$(STACK)/connect.sh fetch
	$(STACK)/run.sh $(STACK)/system.sh retail --records $(SYSTEM_RECORDS)

chaos: ## strike loaders and servers with faults for MINUTES, or replay the rounds of SEEDS (1,2,3), and judge the lake after each round
	@mkdir -p build
	CHAOS_SEEDS=$(SEEDS) CHAOS_MINUTES=$(MINUTES) CHAOS_KINDS="$(KINDS)" CHAOS_REPORT=$(CURDIR)/build/chaos.md \
		$(STACK)/run.sh go test $(LINK) -count=1 -v -timeout 12h -tags stack -run '^TestChaos$$' ./test/chaos

# how many histories make sim goes through
HISTORIES = 1000000

sim: ## go through HISTORIES histories of the simulated commit protocol (a million take about ten minutes on two cores)
	SEEDS=$(HISTORIES) go test $(LINK) -count=1 -v -timeout 12h -run '^TestSimulation$$' ./pipeline

day: ## load a day of RECORDS clicks in COMMITS commits while all jobs run and are killed; DuckDB and Trino judge it (downloads about 1.6 GB once)
	$(STACK)/fetch.sh engines
	DAY_RECORDS=$(RECORDS) DAY_COMMITS=$(COMMITS) LAKELOADER_STACK_ENGINES=1 TRINO_HEAP=4g \
		$(STACK)/run.sh go test $(LINK) -count=1 -v -timeout 3h -tags 'stack engines' -run '^TestEnginesAgreeOnTheDay$$' ./test/e2e

race: ## run the tests that need no server under the race detector
	go test -race -count=1 -timeout 20m $(RACE)

test-engines: ## let Spark and Trino read what lakeloader wrote, calculate aggregates of it, and compact it (downloads about 1.6 GB once)
	$(STACK)/fetch.sh engines
	LAKELOADER_STACK_ENGINES=1 $(STACK)/run.sh go test -p 2 -count=1 -timeout 40m -tags 'stack engines' -run '^TestEngines' \
		$$(grep -rlE '^//go:build.*engines' --include='*_test.go' . | xargs -n1 dirname | sort -ur) # test/e2e, which mostly waits, before the others

lint: ## check formatting, vet, lint rules (with the import table of DESIGN.md), shell scripts
	@files=$$(gofmt -l .); [[ -z $$files ]] || { echo "not formatted (make fmt): $$files"; exit 1; }
	go vet -tags 'stack engines' ./...
	$$($(STACK)/tool.sh golangci-lint) run ./...
	$$($(STACK)/tool.sh shellcheck) -x -e SC1091 $(SCRIPTS)

vuln: ## check code and dependencies against the Go vulnerability database (fails where that cannot be reached)
	test/vuln.sh

sbom: build ## write build/sbom.cdx.json: what the binary is made of, as CycloneDX
	@mkdir -p build
	go run ./test/sbom bin/lakeloader $(VERSION) >build/sbom.cdx.json
	@echo "build/sbom.cdx.json names $$(grep -c '"purl"' build/sbom.cdx.json) components"

bench: ## measure lakeloader with real servers, BENCH_N records; compares with bench/baseline.txt if it is there
	@mkdir -p build
	BENCH_N=$(BENCH_N) $(STACK)/run.sh go test -run '^$$' -bench . -skip 'Compact|Aggregate' -benchtime $(BENCH_TIME) -count $(BENCH_COUNT) -timeout 2h -tags stack $(BENCH) \
		| tee build/bench.txt; exit "$${PIPESTATUS[0]}"
	$$($(STACK)/tool.sh benchstat) $$(ls bench/baseline.txt 2>/dev/null) build/bench.txt

bench-jobs: ## measure compaction and aggregates of BENCH_N records beside DuckDB, pyarrow and Spark (downloads about 1.6 GB once)
	$(STACK)/fetch.sh engines
	BENCH_N=$(BENCH_N) LAKELOADER_STACK_ENGINES=1 $(STACK)/run.sh go test -run '^$$' -bench 'Compact|Aggregate' -benchtime 1x -timeout 3h -tags stack ./bench

fmt: ## format the Go code
	gofmt -w .

generate: ## write the generated files anew
	go generate ./...

fetch: ## download and build what `make test` needs, ahead of time
	$(STACK)/fetch.sh

clean: ## remove what was built here; the download cache stays
	rm -rf bin build
