# What a contributor can do. `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help demo test vm-test soak bench lint lint-code docs dist clean
SHELL := /bin/bash
XTASK := cargo run --quiet --locked --package xtask --

help:
	@echo 'Murphy breaks a running system on purpose, watches what happens, and checks that every promise still holds.'
	@echo
	@awk -F ' *## ' '/^[a-z-]+:.*## / { sub(/:.*/, "", $$1); printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup-build setup-wheels ## find a real bug in a real etcd cluster, and say where its report is
	@labs/demo

test: setup-build setup-wheels setup-etcd setup-containers setup-victims setup-stories setup-shop setup-prometheus setup-vm setup-browser ## every test once, as CI runs them (at most 40 minutes on two cores)
	@$(XTASK) test
	@$(XTASK) vm-test

vm-test: setup-build setup-victims setup-vm ## the part of `make test` that runs in other kernels, emulated
	@$(XTASK) vm-test

soak: setup-build setup-wheels setup-etcd setup-containers setup-victims setup-stories ## the full figures, for hours, resumable; writes docs/benchmarks.md
	@$(XTASK) soak

bench: setup-build setup-bench setup-browser ## how fast a history is judged, beside porcupine, and shown; what a skewed clock, a disturbed network, ended connections and a scrape cost
	cargo bench --locked --package murphy-check
	cargo bench --locked --package murphy-observe
	cargo bench --locked --package murphy --bench time
	cargo bench --locked --package murphy --bench net
	cargo bench --locked --package murphy --bench conn
	cargo bench --locked --package murphy --bench observe
	cargo bench --locked --package murphy --bench amplify

lint: lint-code ## formatting, clippy, licences and the house rules
	@command -v cargo-deny >/dev/null || cargo install --quiet --locked cargo-deny@0.20.2
	cargo deny --locked check bans licenses sources

lint-code: setup-build
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(XTASK) tidy
	@if command -v protoc >/dev/null; then echo '$(XTASK) proto --check'; $(XTASK) proto --check; fi

docs: setup-build ## the documentation of the code, in target/doc
	cargo doc --locked --workspace --no-deps --document-private-items

dist: setup-build ## one stripped release binary, in dist/
	@$(XTASK) dist

clean: ## remove what was built and what hunts left in murphy-runs/
	cargo clean
	rm -rf dist murphy-runs

# What a recipe needs of the machine; see labs/setup/packages.
setup-%:
	@labs/setup/packages $*
	@labs/setup/rust
