# Every chore has one entry point here; CI calls the same ones. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
export PATH := $(CURDIR)/target/tools/bin:$(PATH):/usr/sbin:/sbin

.PHONY: help
help: ## List what there is
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: packages
packages: ## Install what is missing from the distribution (the only step that may need root)
	@scripts/packages.sh build run etcd pull tools test
	@scripts/tools.sh kubectl

.PHONY: build
build: ## Build the release binary, target/release/knetsim
	@scripts/packages.sh build
	cargo build --release --locked -p knetsim

.PHONY: demo
demo: packages ## Start two clusters, walk a packet through every hop, leave them running
	cargo build --release --locked -p knetsim -p knetsim-tests -p greeting-controller --bins
	@target/release/demo

.PHONY: test
test: packages ## Run every test there is: unit, kernel, end to end
	@scripts/tools.sh helm
	cargo build --locked -p knetsim -p knetsim-tests -p greeting-controller --bins
	cargo test --locked --workspace --exclude knetsim-tests --exclude knetsim-bench --lib --bins --tests
	@scripts/end-to-end.sh

.PHONY: conformance
conformance: packages ## Run our tests for upstream's conformance specs, those with running pods too
	cargo build --locked -p knetsim -p knetsim-conformance --bins
	CONFORMANCE_FULL=1 cargo test --locked -p knetsim-conformance --tests -- --nocapture

.PHONY: check
check: ## Formatting, lints, licences
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@scripts/deny.sh

.PHONY: bench
bench: packages ## Measure: medians and ratios against something real in the same run
	cargo build --profile dist --locked -p knetsim -p knetsim-bench --bins
	@target/dist/knetsim-bench

.PHONY: facts
facts: ## Make apiserver/schema/facts anew (needs PROTOS=… GO=…, see apiserver/schema/facts/README.md)
	cargo run --release --manifest-path apiserver/schema/generate/Cargo.toml -- $(PROTOS) $(GO) apiserver/schema/facts

.PHONY: image
image: ## Build the container image knetsim:latest
	docker build -t knetsim:latest .

.PHONY: clean
clean: ## Remove everything that was built
	cargo clean
