# Every verb is here; CI runs these and nothing else.

# cross reads Cross.toml unless told otherwise; ours is lower-case.
export CROSS_CONFIG := $(CURDIR)/cross.toml
# Where rustup puts its tools, also for shells that have not been told.
export PATH := $(PATH):$(HOME)/.cargo/bin

LAB := tests/lab
# Tests that start engines run where nothing of theirs is seen outside; this is how cargo is told.
INSIDE = env CARGO_TARGET_$(shell rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')_RUNNER=$(CURDIR)/$(LAB)/inside.sh
# And two engines at once, where it is not one test that somebody looks at.
HALVES = $(if $(ONLY)$(SHOW),$(INSIDE),$(INSIDE:inside.sh=halves.sh))
# The simulated world, well compiled; of the whole workspace, so that `make kernel` finds the agent compiled the same way.
SIM = cargo test --locked --workspace --profile sim --test sim

.DEFAULT_GOAL := help
.PHONY: run clean-run test check fmt lint unit sim lives cuts kernel soak access metrics engine cloud browser open-balena clients bus power boards hostile fuzz fuzz-min schema bench layout deny doc \
	size release arm-test deb package-test image-test torture picture ci clean help

run: ## run the agent here with two sample services, until Ctrl-C; AGENT=file for another build
	@packaging/run.sh start

clean-run: ## take away everything `make run` made
	@packaging/run.sh clean

test: ## the tests, those on a real engine too; on a fresh Debian it installs what it needs, and says so
	@$(LAB)/install.sh rust engine registry bus avahi vpn busybox compose metrics tools trace
	@$(MAKE) --no-print-directory unit lives metrics bus engine cloud LIVES=$(or $(LIVES),3000)

check: fmt lint unit ## fmt, lint and the quick tests: what every commit passes

fmt: ## formatting is right
	@$(LAB)/install.sh rust lint
	cargo fmt --all --check

lint: ## no warning is left
	@$(LAB)/install.sh rust lint
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit: ## tests that need nothing but a compiler, some simulated lives among them
	@$(LAB)/install.sh rust
	BOARDKEEPER_NO_ENGINE=1 cargo test --workspace --exclude sim --lib --bins --tests --locked --quiet
	$(SIM) --quiet

sim: ## the simulated world: lives that have a name; SEED=n tells one of the others
	@$(LAB)/install.sh rust
	$(SIM) -- --nocapture $(if $(SEED),--exact one)

cuts: ## power cuts under the store's own code, at every call of the kernel: CUTS=n for that many, SEED=n for one life
	@$(LAB)/install.sh rust $(if $(SEED),,ext4)
	cargo test --locked --quiet --test store -- --nocapture $(if $(SEED),one)
	$(if $(SEED),,$(INSIDE) cargo test --locked --quiet --test store -- --ignored --nocapture ext4)

access: ## who may ask what: every route for every kind of key
	@$(LAB)/install.sh rust
	cargo test --locked --test shutdown -- --nocapture access

metrics: ## Prometheus' own tool reads the metrics and the alerts
	@$(LAB)/install.sh rust metrics
	cargo test --locked --quiet --test api -- --ignored promtool
	promtool check rules packaging/prometheus-alerts.yml

lives: ## 20,000 simulated lives, well compiled, and the coverage marks that they hit; LIVES=1000000 FROM=n JOBS=n, resumed where interrupted
	@$(LAB)/install.sh rust
	LIVES=$(LIVES) FROM=$(FROM) JOBS=$(JOBS) $(SIM) --quiet -- --ignored --exact lives::all --nocapture

soak: ## a hundred days of releases, restarts and identifies in a row: memory, files, threads, bytes; DAYS=n for some, AGENT=file for another build
	@$(LAB)/install.sh rust engine registry busybox tools trace
	DAYS=$(or $(DAYS),100) cargo test --locked --quiet --test shutdown idle_days
	DAYS=$(or $(HEAP_DAYS),1000) cargo test --locked --quiet --test heap -- --nocapture
	$(if $(AGENT),,cargo build --release --locked)
	AGENT=$(abspath $(or $(AGENT),target/release/boardkeeper)) DAYS=$(or $(DAYS),100) $(INSIDE) cargo test --locked --test engine -- --ignored --test-threads=1 --nocapture soak::

engine: ## the whole agent against a real engine and a real registry; ONLY=name for some (compose: twenty compose files)
	@$(LAB)/install.sh rust engine registry busybox compose metrics tools trace
	$(HALVES) cargo test --locked --quiet --test port engine$(if $(ONLY),::$(ONLY)) $(if $(SHOW),-- --nocapture)
	BOARDKEEPER_LABS=3 $(HALVES) cargo test --locked --test engine -- --ignored --test-threads=1 $(if $(SHOW),--nocapture) $(ONLY)

cloud: ## a fake cloud, held to recorded answers, with a real engine and a real registry; ONLY=name for some
	@$(LAB)/install.sh rust engine registry bus busybox tools
	cargo test --locked --quiet --test cloud
	BOARDKEEPER_LABS=7 $(HALVES) cargo test --locked --test cloud -- --ignored --test-threads=1 $(if $(SHOW),--nocapture) $(ONLY)

browser: ## the page in a real browser, with a real engine, and pictures of it in target/browser; ONLY=name for some
	@$(LAB)/install.sh rust engine registry busybox tools npm browser
	@$(LAB)/axe.sh
	$(HALVES) cargo test --locked --test browser -- --ignored --test-threads=1 $(if $(SHOW),--nocapture) $(ONLY)

kernel: ## LEDs and GPIO lines on the kernel's own, in small machines; FLAVOURS="…" for some kernels, ONLY=name for some tests
	@$(LAB)/install.sh rust kernel busybox
	@ONLY="$(ONLY)" $(LAB)/kernel.sh test $(FLAVOURS)

open-balena: ## the agent in a running open-balena, driven by its SDK and CLI: API_URL=… TOKEN=… and what tests/lab/open-balena.sh names
	@$(LAB)/install.sh rust engine bus busybox tools npm
	@$(LAB)/open-balena.sh

clients: ## real clients from npm in local mode: balena-cli pushes, edits and follows an app on a real engine; AGENT=file for another build
	@$(LAB)/install.sh rust engine registry bus avahi busybox tools npm
	@$(LAB)/clients.sh

bus: ## what is said to logind, systemd and avahi, on buses of their own; and where the port answers, in networks of its own
	@$(LAB)/install.sh rust bus avahi tools vpn
	cargo test --locked --quiet --test port -- --ignored power::real units
	$(INSIDE) cargo test --locked --quiet --test port -- --ignored --test-threads=1 listen vpn mdns

power: bus ## real reboots and shutdowns: the agent in machines that systemd-nspawn boots
	@$(LAB)/install.sh rust engine busybox tools nspawn
	@for it in bookworm trixie; do SUITE=$$it $(LAB)/nspawn.sh root > /dev/null || exit 1; done
	$(INSIDE) cargo test --locked --test boards -- --ignored --test-threads=1 $(if $(SHOW),--nocapture) $(or $(ONLY),nspawn package rollback upgrade)

boards: ## whole emulated boards, with a real kernel, LEDs and our package; ONLY=name for some; needs `make release`
	@$(LAB)/install.sh rust package boards busybox tools
	@$(LAB)/boards.sh $(ONLY)

hostile: ## clients that open 10,000 connections, dawdle, or talk no HTTP, against the binary; HELD=n of them
	@$(LAB)/install.sh rust
	HELD=$(or $(HELD),10000) cargo test --locked --quiet --test hostile -- --nocapture $(ONLY)

fuzz: ## made-up bytes for the agent's own code: TARGET=x or all of them, TIME=seconds each
	@$(LAB)/install.sh rust fuzz
	$(LAB)/fuzz.sh $(or $(TARGET),all) $(or $(TIME),60)

fuzz-min: ## what fuzzing found, in its shortest form, into the repository; TARGET=x for one
	@$(LAB)/install.sh rust fuzz
	$(LAB)/fuzz.sh min $(TARGET)

schema: ## the API's description against the binary, with schemathesis; EXAMPLES=n for each operation
	@$(LAB)/install.sh rust python
	$(LAB)/schema.sh $(EXAMPLES)

bench: ## measure; the figures are kept in target/bench.txt; COMPARE=commit measures that build in turn, ONLY="gating copying" some
	@$(LAB)/install.sh rust engine registry bus busybox tools trace valgrind
	$(if $(COMPARE),tests/bench/other.sh $(COMPARE))
	ONLY="$(ONLY)" $(if $(COMPARE),COMPARE=$(COMPARE) COMPARE_AGENT=$(CURDIR)/target/compare/boardkeeper) $(INSIDE) cargo bench --locked --bench agent
	$(if $(ONLY),,$(INSIDE) tests/bench/cloud.sh $(CURDIR)/target/release/boardkeeper)

layout: ## what an idle device runs, as qemu sees it, into packaging/layout.txt: releases have it side by side
	@$(LAB)/install.sh rust engine bus busybox tools arm
	$(LAB)/layout.sh

deny: ## licences, duplicates and advisories of what we depend on; CHECKS="bans licenses sources" where GitHub is not reached
	@$(LAB)/install.sh rust deny
	cargo deny --locked check $(CHECKS)

doc: ## the handbook of the code, in target/doc
	@$(LAB)/install.sh rust
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

size: ## how large the release binary is
	@$(LAB)/install.sh rust
	cargo build --release --locked
	@wc -c target/release/boardkeeper

release: ## static binaries for every board, in target/release-bin; WAY=cross, rustup or debian; TARGETS="…" for some, JOBS=n at once
	@$(LAB)/install.sh rust
	@packaging/release.sh $(TARGETS)

release-%: ## one of them: make release-armv7-unknown-linux-musleabihf
	@$(LAB)/install.sh rust
	@packaging/release.sh $*

arm-test: ## the tests on emulated ARM processors, and the release binaries there; TARGETS="…" for some, SHORT=yes for the quickest
	@$(LAB)/arm.sh $(TARGETS)

deb: ## Debian packages of the release binaries, in target/deb
	@$(LAB)/install.sh rust
	@packaging/deb.sh $(ARCHES)

package-test: ## install, upgrade, remove and purge the packages in clean Debian roots; ARCHES="…" for some
	@$(LAB)/package.sh $(ARCHES)

image-test: ## the container image, built and run with a private engine
	@$(LAB)/container.sh

torture: ## the long forms of what is promised, and the table of it with what was measured; ONLY="…" for some
	@$(LAB)/torture.sh $(ONLY)

picture: ## docs/session.svg for the README, recorded from a real run
	@docs/record.sh

# Nothing is compiled a second time after a change.
ci: export CARGO_INCREMENTAL := 0
ci: fmt lint doc test browser clients ## what CI runs
	@$(MAKE) --no-print-directory kernel FLAVOURS="all second"
	@if packaging/cross.sh prepare; then \
		$(MAKE) --no-print-directory release TARGETS="aarch64-unknown-linux-musl arm-unknown-linux-musleabihf" && \
		$(MAKE) --no-print-directory arm-test SHORT=yes; \
	else echo "make ci: NOTHING WAS BUILT FOR ARM: the lines above say what cannot be fetched" >&2; fi

clean: ## take away what was built
	cargo clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16
