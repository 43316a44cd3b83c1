# Every verb is here; CI runs these and nothing else.

# cross reads Cross.toml unless told otherwise; ours is lower-case.
export CROSS_CONFIG := $(CURDIR)/cross.toml

.DEFAULT_GOAL := check
.PHONY: check fmt lint unit help

check: fmt lint unit ## fmt, lint and the quick tests: what every commit passes

fmt: ## formatting is right
	cargo fmt --all --check

lint: ## no warning is left
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit: ## tests that need nothing but this machine's compiler
	cargo test --workspace --locked --quiet

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)
