# The project's entry points. `make` alone lists them; what a target needs and does is in the scripts it calls.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
# Cargo and the test bed share the work between the cores themselves; two targets at once would only fight.
.NOTPARALLEL:

# Everything built stays outside the checkout, so that a fresh clone rebuilds only this crate.
export PROBITY_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/probity
export CARGO_TARGET_DIR ?= $(PROBITY_CACHE)/target

binaries := $(CARGO_TARGET_DIR)/x86_64-unknown-linux-gnu
chart := charts/probity
# One file or folder a concern; those that need a node are in the folder tests/cluster and not among these.
api_tests := $(basename $(notdir $(wildcard tests/*.rs))) \
  $(filter-out cluster,$(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs)))
api_tools := apiserver registry oras crane helm signer kserve openreports policyapi

.PHONY: help
help: ## List the targets
	@awk -F ' *## *' '/^[a-z-]+:.*##/ {sub(/:.*/, "", $$1); printf "  %-14s %s\n", $$1, $$2} /^##/ {printf "\n%s\n", $$2}' $(firstword $(MAKEFILE_LIST))
	@printf '\nCache: %s\n' '$(PROBITY_CACHE)'

## See it work

.PHONY: demo
demo: ## A real cluster, a signed model that serves, and what does not (needs root)
	@build/require linux rust go python cc root
	@build/demo

.PHONY: clean-cluster
clean-cluster: ## Take down the clusters of the demo and of the tests (needs root)
	@build/require linux root
	@for node in demo test; do tests/testbed/node down "$$node"; done

## Check

.PHONY: test
test: ## Every test, with the time of each phase (needs root)
	@build/require linux rust go python cc root
	@build/phase --table $(MAKE) tools test-unit test-api test-cluster

.PHONY: test-unit
test-unit: ## Tests that need nothing but Rust
	@build/require linux rust
	@build/phase unit cargo test --locked --lib --bins
	@build/phase doc-examples cargo test --locked --doc

.PHONY: test-api
test-api: ## Tests against a real API server and a real registry, no root
	@build/require linux rust go python cc
	@build/phase api-tools tests/testbed/tools $(api_tools)
	@build/phase testbed tests/testbed/selftest
	@# More threads than cores, for these tests wait more than they compute.
	@RUST_TEST_THREADS=8 build/phase api cargo test --locked $(addprefix --test ,$(api_tests))

.PHONY: test-cluster
test-cluster: ## Tests on a real node: pods, Services, images (needs root)
	@build/require linux rust go python cc root
	@build/phase node-tools tests/testbed/tools debs $(api_tools) node cilium
	@build/phase cluster cargo test --locked --test cluster

.PHONY: lint
lint: ## Format, clippy, licences and bans, shell scripts, chart
	@build/require linux rust go shellcheck git
	@build/phase --table $(MAKE) lint-rust lint-deny lint-shell lint-chart

.PHONY: lint-rust
lint-rust:
	@build/phase rustfmt cargo fmt --check
	@build/phase clippy cargo clippy --locked --all-targets -- -D warnings

.PHONY: lint-deny
lint-deny:
	@build/phase deny-fetch cargo fetch --locked
	@build/phase deny build/cargo-deny --offline --locked check --hide-inclusion-graph bans licenses sources

.PHONY: lint-shell
lint-shell:
	@build/phase shellcheck build/lint-shell

.PHONY: lint-chart
lint-chart:
	@build/phase chart build/lint-chart $(chart)

.PHONY: fmt
fmt: ## Format the Rust sources
	@build/require rust
	@cargo fmt

.PHONY: bench-verify
bench-verify: ## Time and memory of `probity verify` beside the official tool's
	@build/require linux rust python cc
	@benches/verify

.PHONY: bench-admission
bench-admission: ## Speed and memory of admission beside a bare server's and Kyverno's
	@build/require linux rust go python cc wrk
	@benches/admission

.PHONY: bench-audit
bench-audit: ## Time, memory and writes of the audit of 10,000 pods
	@build/require linux rust go python cc
	@benches/audit

.PHONY: bench-rbac
bench-rbac: ## Time and memory of the audit of rights on 5,000 bindings
	@build/require linux rust
	@build/phase release cargo build --locked --release --example rbac
	@mkdir -p target/bench
	@$(binaries)/release/examples/rbac | tee target/bench/rbac.json

.PHONY: bench-relay
bench-relay: ## Speed and memory of the relay beside the registry's own (root: undisturbed)
	@build/require linux rust go python cc
	@benches/relay

## Make

.PHONY: image
image: ## Build and push the image: make image IMAGE=registry.example/probity:TAG
	@build/require linux rust go
	@[[ -n '$(IMAGE)' ]] || { echo 'image: say where to: make image IMAGE=registry.example/probity:TAG' >&2; exit 2; }
	@build/phase release cargo build --locked --release
	@build/image $(binaries)/release/probity '$(IMAGE)'

.PHONY: crds
crds: ## Write crds/, and the chart's copy of it, from the Rust types
	@build/require rust
	@rm -f crds/*.yaml $(chart)/files/crds/*.yaml
	@for directory in crds $(chart)/files/crds; do cargo run --quiet --locked -- crds --dir "$$directory"; done

.PHONY: docs
docs: ## Write docs/reference/ from the Rust types, and the Rust documentation
	@build/require rust
	@rm -f docs/reference/*.md
	@cargo run --quiet --locked -- crds --markdown --dir docs/reference
	@cargo doc --locked --no-deps --document-private-items

.PHONY: tools
tools: ## Build what the tests run against (20 minutes once, then nothing)
	@build/require linux go python cc
	@build/phase tools tests/testbed/tools debs $(api_tools) node cilium
