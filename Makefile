# Two commands do everything: `make demo` shows the main job, `make test` checks the whole project.
# Both install what is missing (see setup/packages) and say so.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
# Set ONCE=1 to run the demo, check it and leave nothing running.
ONCE ?=
# Set PEERS=1 to install the brokers and stores that `make bench` compares with and that are missing here: Debian's, and from
# crates.io what has to be built, which takes many minutes the first time. FlashMQ is measured if `flashmq` is on the path.
PEERS ?=
# Set SEED to another number for other moments and another load in `make torture`.
SEED ?=
# tpm2-tss reads this before its first call: without it, every expected failure is printed.
export TSS2_LOG ?= all+NONE

.PHONY: help setup demo test lint deny bench torture conformance fuzz clean

help: ## Show this list.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## Install the system packages that are missing, saying which and why.
	@./setup/install

demo: setup ## First boot to tenant app on this machine. ONCE=1 checks it and ends.
	@echo 'demo: building (the first time takes a few minutes)'
	@$(CARGO) build --locked -p muster-hub -p muster-edge -p muster-simulators
	@target/debug/muster-sim demo $(if $(ONCE),--once)

test: setup lint ## Format, lints and every test.
	@./setup/install servers
	@$(CARGO) build --locked --workspace --all-targets
	@MUSTER_REQUIRE_SWTPM=1 MUSTER_REQUIRE_INFLUX=1 MUSTER_REQUIRE_STRACE=1 $(CARGO) test --locked --workspace

lint: setup ## Format and lints.
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

deny: ## Licences, bans, sources and advisories (needs cargo-deny and its advisory database).
	@cargo-deny check

bench: setup ## Measure, beside the brokers that are installed (PEERS=1 installs them), and write docs/benchmarks.md.
	@$(if $(PEERS),./setup/install peers && ./setup/install servers)
	@$(if $(PEERS),$(CARGO) install --quiet --locked --root target/peers --target-dir target/peers/build rumqttd@0.20.0 rmqttd@0.24.0)
	@$(CARGO) build --locked --release -p muster-hub -p muster-simulators
	@$(CARGO) build --locked --profile device -p muster-edge
	@MUSTER_PROGRAMS=target/device MUSTER_PEERS=$(CURDIR)/target/peers/bin \
		target/release/muster-sim bench --write docs/benchmarks.md

torture: setup ## Kill a hub under load 200 times and cut its power 200 times; nothing acknowledged may be lost (minutes).
	@$(CARGO) build --locked --release -p muster-hub -p muster-simulators
	@target/release/muster-sim torture $(if $(SEED),--seed $(SEED))

conformance: setup ## Write docs/conformance.md from the statements, vectors and tests.
	@MUSTER_WRITE_CONFORMANCE=1 $(CARGO) test --locked -p muster-tests --test conformance -- the_page_is_in_step

fuzz: ## Fuzz every parser for a minute each (needs nightly and cargo-fuzz).
	@for target in mqtt mqtt_session router websocket enrolment attest senml items sealed firmware update tpm_public tpm_attest tpm_signature slots patch ddi range; do \
		$(CARGO) +nightly fuzz run $$target -- -max_total_time=60; \
	done

clean: ## Remove what was built.
	@$(CARGO) clean
