SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: tls-audit help setup build test test-unit check lint fmt fmt-check demo bench fuzz soak chaos clean gen example

help: ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

node_modules/.package-lock.json: package.json package-lock.json
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

setup: node_modules/.package-lock.json ## Install the npm dependencies

build: setup ## Compile everything into dist/
	@npx tsc -b

lint: build ## Lint
	@npx eslint .

fmt: setup ## Format the code
	@npx prettier --write --log-level warn .

fmt-check: setup
	@npx prettier --check --log-level warn .

test-unit: build ## Tests that need nothing but Node
	@node dist/test/support/run-tap.js unit

test: build ## Install what the tests need (a real Consul included) and run every test
	@for peers in consul brokers clients security java; do test/support/install-peers.sh $$peers || true; done # without them the tests concerned skip, or fail when CI=true
	@node dist/test/support/run-tap.js all

check: build lint fmt-check test ## What CI runs

fuzz: build ## Feed every reader of bytes from peers with mutated input (FUZZ_SECONDS, FUZZ_SEED, FUZZ_ONLY)
	@node dist/test/fuzz/fuzz.js

soak: build ## Mixed load on a mesh that changes all the time, for SOAK_MINUTES (30): fails when memory or descriptors grow
	@node dist/test/soak/soak.js

chaos: build ## Ten services failing in every way: what clients see without Remora, with HAProxy, with Remora; 15 minutes (CHAOS_SECONDS, CHAOS_ONLY)
	@test/support/install-peers.sh bench >/dev/null || true # HAProxy to compare with; without it its rows are missing
	@node dist/test/chaos/chaos.js

tls-audit: build ## Everything that testssl.sh has to say of an inbound port, judged; 3 minutes
	@test/support/install-peers.sh security
	@TLS_AUDIT=whole node dist/test/integration/tls-audit.test.js

demo: build ## Show a small mesh at work, step by step (KEEP=1 leaves it running)
	@node dist/examples/demo/demo.js

example: build ## Run one of examples/: NAME=grpc, websocket, tcp-redis, rate-limit, ...
	@node dist/examples/$(NAME)/$(NAME).js

bench: build ## Measure Remora against other data planes, and judge its targets; 15 minutes (BENCH_SUITES, BENCH_SECONDS ...: bench/README.md)
	@for peers in bench consul clients; do test/support/install-peers.sh $$peers >/dev/null || true; done # what is missing becomes a row that says so
	@node dist/bench/bench.js

profile: build ## Where the CPU time of Remora's sidecars goes, by group (BENCH_PROFILE=grpc, tcp, tcp-bulk for others; perf where it may be used)
	@node dist/bench/profile.js

gen: build ## Regenerate what is checked in: protobuf descriptor, reference of the command line
	@node src/discovery/proto/generate.mjs
	@node dist/test/support/cli-reference.js

clean: ## Remove what was built
	@rm -rf dist .tap
