# The habits, one word each. `make` alone prints them.
#
# Every target first makes sure that what it needs is there (load-tests/setup.sh): on a fresh Debian-like machine
# that has only Rust it installs the rest and says what it did; the second time it takes no time.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test soak check bench release clean

# Tools that the machine has come first; those that setup.sh unpacked for this checkout only come last.
export PATH := $(PATH):$(HOME)/.cargo/bin:$(CURDIR)/target/tools/usr/bin:$(CURDIR)/target/tools/usr/sbin

SETUP := load-tests/setup.sh
CARGO := cargo
PYTHON := .venv/bin/python

help: ## what you are reading
	@printf '\nSealgate: an access proxy whose access log is evidence.\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@printf '\nStart with `make demo`; then see README.md.\n\n'

demo: ## the whole story in a minute: real traffic, verify, a forgery, verify naming it
	@$(SETUP) build python
	@echo '==> building (the first time takes some minutes)'
	@$(CARGO) build --locked --workspace --bins
	@target/debug/demo

test: ## every test: Rust units and properties, then the real binaries end to end
	@$(SETUP) build python prometheus e2e
	@load-tests/test.sh

KILLS := 1000
MINUTES := 20

soak: ## kill -9 under load, KILLS=1000 times (or for MINUTES=20): all is recorded or declared, the log verifies
	@$(SETUP) build python e2e
	@$(CARGO) build --locked --quiet --bin sealgate --bin sealaudit
	@$(PYTHON) load-tests/e2e/soak.py --kills $(KILLS) --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

check: ## what CI runs first: format, lints, licences, docs, configurations, alert rules, dashboards
	@$(SETUP) build python prometheus cargo-deny
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@# The advisory database is a download; without it the other three still guard. Never silently.
	@if [ -n "$(OFFLINE)" ] || ! $(CARGO) deny --locked fetch db >/dev/null 2>&1; then \
	  echo '==> NOT CHECKED: advisories (their database cannot be fetched from here). Checking bans, licences and sources.'; \
	  set -x; $(CARGO) deny --locked check --hide-inclusion-graph bans licenses sources; \
	else set -x; $(CARGO) deny --locked check --hide-inclusion-graph; fi
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items
	@$(CARGO) build --locked --quiet --bin sealgate
	@for file in conf/*.yaml; do echo "sealgate validate --no-environment -c $$file"; \
	  target/debug/sealgate validate --no-environment -c "$$file" || exit; done
	promtool check config conf/prometheus/prometheus.yml
	promtool check rules conf/prometheus/rules.yml
	promtool test rules conf/prometheus/rules_test.yml
	$(PYTHON) grafana/check_dashboards.py

bench: ## figures beside their anchors, measured in the same run (release build, then a few minutes)
	@$(SETUP) build bench
	@echo '==> building for release (fat LTO: the first time takes many minutes)'
	@$(CARGO) build --locked --release --workspace --bins
	@target/release/bench

release: ## sealgate and sealaudit as they are shipped, in target/release
	@$(SETUP) build
	$(CARGO) build --locked --release --bin sealgate --bin sealaudit
	@ls -lh target/release/sealgate target/release/sealaudit

clean: ## remove what was built, installed in this folder, or left by a demo
	@load-tests/setup.sh remove
