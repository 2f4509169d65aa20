# One verb per need. Everything but a first demo builds in release mode, so that dependencies build once.
.DEFAULT_GOAL := help
.PHONY: help demo build test rehearsal sim test-matrix differential fuzz fuzz-all lint bench adr soak sanitize deb dist docs \
  test-packages clean need-python

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: need-python ## see changes of a MongoDB arrive in JetStream; sets everything up first
	@python3 scripts/demo.py

build: need-python ## .build/release/tailrace
	@python3 scripts/fetch.py packages
	swift build -c release

test: need-python ## unit tests, then integration tests against real servers
	@python3 scripts/test.py

rehearsal: need-python build ## two groups go over to their producers under load and faults; REHEARSAL_RATE=2000, REHEARSAL_SECONDS=5
	@REHEARSAL_RATE=$${REHEARSAL_RATE:-400} REHEARSAL_SECONDS=$${REHEARSAL_SECONDS:-5} \
	  python3 scripts/test.py --rehearsal

test-matrix: need-python build ## what depends on MongoDB, on every mongod that can be had; MATRIX_ARGS="6.0.27"
	@python3 scripts/matrix.py $(MATRIX_ARGS)

differential: need-python build ## the decoder against the server's change streams: twenty seeds of a minute; MONGOD="6.0.27 5.0.4"
	@for version in $(or $(MONGOD),6.0.27 5.0.4); do \
	  DIFFERENTIAL_SEEDS=$${DIFFERENTIAL_SEEDS:-20} DIFFERENTIAL_SECONDS=$${DIFFERENTIAL_SECONDS:-60} \
	  TAILRACE_MONGOD_VERSION=$$version python3 scripts/test.py --differential || exit 1; done

fuzz: need-python build ## the JSON Schema validator against jsonschema-rs, a million comparisons; FUZZ_ARGS="--formats"
	@python3 scripts/fuzz.py $(FUZZ_ARGS)

fuzz-all: need-python ## libFuzzer on every parser of what comes from outside; FUZZ_RUNS=10000000, FUZZ_ARGS="json yaml"
	@python3 scripts/fuzz_all.py $(FUZZ_ARGS)

sim: need-python ## histories of faults in virtual time, from a fresh seed; SEEDS=100, MINUTES=1 or SEED=4711
	@python3 scripts/fetch.py packages >&2
	swift build -c release --product simulate
	.build/release/simulate $(if $(SEED),--seed $(SEED),$(if $(MINUTES),--minutes $(MINUTES),--seeds $(or $(SEEDS),100)))

lint: need-python ## style of the Swift sources (.swift-format), which module imports which, invariants of unchecked code
	@python3 scripts/modules.py
	@python3 scripts/invariants.py
	swift format lint --strict --recursive --parallel Sources Tests examples Package.swift

bench: need-python build ## rates, CPU, memory and latency; BENCH_ARGS="--help" tells the options
	@python3 scripts/bench.py $(BENCH_ARGS)

adr: need-python build ## every claim of the decision for JetStream, on real servers; ADR_ARGS="--write", ADR_ARGS="--spoiled"
	@python3 scripts/adr.py $(ADR_ARGS)

soak: need-python build ## the fault tests, FAULT_ROUNDS rounds each (50); three instances, INSTANCE_SECONDS a protocol (600)
	@FAULT_ROUNDS=$${FAULT_ROUNDS:-50} INSTANCE_SECONDS=$${INSTANCE_SECONDS:-600} python3 scripts/test.py --faults

sanitize: need-python ## Swift's tests under the thread and the address sanitizer; SANITIZE_ARGS="thread BSONTests"
	@python3 scripts/sanitize.py $(SANITIZE_ARGS)

deb: need-python ## the Debian package, in .build/dist
	@python3 scripts/package.py deb

dist: need-python ## tarball, list of components (CycloneDX) and SHA256SUMS, in .build/dist
	@python3 scripts/package.py dist

docs: need-python ## the documentation as a site with a search, in .build/docs
	@python3 scripts/package.py docs

test-packages: need-python deb dist ## lintian; install, run, upgrade and purge in a fresh Debian (root); tarball; site
	@python3 scripts/test.py --packages

clean: ## removes build products; fetched servers stay in .tools/
	rm -rf .build

need-python:
	@command -v python3 >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing python3" >&2; export DEBIAN_FRONTEND=noninteractive; \
	    { apt-get install -y -qq --no-install-recommends python3-venv || \
	      { apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv; }; \
	    } >/dev/null; \
	  else \
	    echo "python3 is missing: sudo apt-get install -y python3-venv" >&2; exit 69; \
	  fi; }
