# make run    everything set up, the worker on an embedded Redis and simulated services, until all is in sync
# make test   every check: format, lint, types, import contracts, all tests
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The machine's own Python if it is 3.11 or later, else the first one that is.
FITS := -c 'import sys, venv, ensurepip; print("fits" * (sys.version_info >= (3, 11)))' 2>/dev/null
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python3.14,\
  $(if $(filter fits,$(shell $(name) $(FITS))),$(name))))
# Without compiled modules each process of the tests, and each worker, compiles them again.
unexport PYTHONDONTWRITEBYTECODE
SOURCES := config jobs worker sandbox tests
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
NO_PYTHON := $(if $(PYTHON),PYTHON=$(PYTHON) cannot be used. )Python 3.11 or later with its module venv is missing. Install it (Debian and Ubuntu: apt-get install \
  python3 python3-venv; macOS: brew install python@3.12), or name one: make PYTHON=/its/path
NO_PACKAGES := The packages could not be installed; the lines above say which one, and why. If no index answers: the \
  set-up needs a network, or a mirror that pip is configured for. If a compiler is missing: there is no wheel for this \
  system, so install one (Debian and Ubuntu: apt-get install build-essential python3-dev; macOS: xcode-select --install)
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
  --no-emit-index-url --no-emit-find-links

.PHONY: help
help: ## Show what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

# uv installs in seconds what takes pip a minute. If it cannot be had or fails, pip does it: from the same hashed lock.
INSTALL_WITH_UV = $(PIP) --require-hashes -r requirements-uv.txt \
  && $(if $(PIP_INDEX_URL),UV_DEFAULT_INDEX="$(PIP_INDEX_URL)") UV_HTTP_RETRIES=1 $(BIN)/uv pip install --quiet --python $(BIN)/python \
    --require-hashes -r requirements-dev.txt \
  && $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
INSTALL_WITH_PIP = echo "uv could not install them: pip does, which takes a minute or two …" \
  && $(PIP) --no-deps --no-compile --require-hashes -r requirements-dev.txt \
  && $(PIP) --no-deps --no-build-isolation --editable .

WARM := arq.cli, worker.main, worker.startup, worker.web.pages, worker.web.server, sandbox.demo.app, pytest, hypothesis, playwright.async_api

$(READY): requirements-dev.txt requirements-uv.txt pyproject.toml
	@test "$$($(PYTHON) $(FITS))" = fits || { echo "$(NO_PYTHON)"; exit 1; }
	@echo "Set-up, 1 of 3: a virtual environment in $(VENV), with $(PYTHON) …"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "$(NO_PYTHON)"; exit 1; }
	@echo "Set-up, 2 of 3: the packages of requirements-dev.txt, 400 MB if none of them is in a cache yet …"
	@{ $(INSTALL_WITH_UV); } || { $(INSTALL_WITH_PIP); } || { echo "$(NO_PACKAGES)"; exit 1; }
	@echo "Set-up, 3 of 3: compiling what the first run and the tests import …"
	@$(BIN)/python -c "import $(WARM)"
	@touch $@

.PHONY: setup
setup: $(READY) ## Set up the virtual environment from the hashed lock

.PHONY: run
run: $(READY) ## Run the worker against the sandbox until both sides agree
	@$(BIN)/python -m sandbox.demo

.PHONY: sandbox
sandbox: $(READY) ## Start Redis and both simulators, print the environment to use, and stay
	@$(BIN)/python -m sandbox

# $(call pytest,NAME,SELECTION): a run of tests, with a report REPORTS/NAME.xml if REPORTS names a folder. PYTEST_OPTIONS
# may choose no test of it, which is pytest's exit code 5.
pytest = $(BIN)/python -m pytest --durations=15 $(2) $(if $(REPORTS),--junitxml=$(REPORTS)/$(1).xml) \
  $(if $(PYTEST_OPTIONS),$(PYTEST_OPTIONS) || test $$? = 5)

# The one process of the first run compiles the tests for the five of the second.
.PHONY: test
test: $(READY) ## Run every check and every test
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python -m tests.tools
	$(call pytest,alone,-m alone)
	$(call pytest,beside,--numprocesses 5 --dist worksteal -m "not alone")

.PHONY: test-servers
test-servers: $(READY) ## Run the tests that touch Redis on each server: REDIS_SERVERS="/path /path", or those that are found
	@$(BIN)/python -m tests.tools
	@$(BIN)/python -m tests.servers $(TEST_SERVERS_OPTIONS)

.PHONY: test-under-load
test-under-load: $(READY) ## Run every test RUNS times (10) while two processes burn the processor
	@$(BIN)/python -m tests.tools
	@$(BIN)/python -m tests.under_load $(UNDER_LOAD_OPTIONS)

.PHONY: chaos
chaos: $(READY) ## Kill, stop and break everything for ten minutes, and check that nothing was lost or stale
	@$(BIN)/python -m tests.chaos $(CHAOS_OPTIONS)

.PHONY: scan-bench
scan-bench: $(READY) ## Measure a scan beside the bare lists: calls, time, memory, and what --apply leaves
	@$(BIN)/python -m tests.benchmarks.scan $(SCAN_BENCH_OPTIONS)

.PHONY: bench
bench: $(READY) ## Measure what the worker costs and how fast it is, and write the table into docs/benchmarks.md
	@$(BIN)/python -m tests.benchmarks --document docs/benchmarks.md

.PHONY: bench-quick
bench-quick: $(READY) ## The same in small: under a minute, with one line of JSON last
	@$(BIN)/python -m tests.benchmarks --form quick

.PHONY: format
format: $(READY) ## Format the code
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

.PHONY: contract-facts
contract-facts: $(READY) ## Write the tables of tests/contract/data from the recordings in CONTRACT_DATA
	$(BIN)/python -m tests.contract.make_facts

.PHONY: schema
schema: $(READY) ## Write docs/customer-update.schema.json from the model
	$(BIN)/python -m jobs.schema > docs/customer-update.schema.json

.PHONY: pictures
pictures: $(READY) ## Take the README's pictures again: of make run, and of the pages with Chromium
	$(BIN)/python -m sandbox.demo.screenshot
	$(BIN)/python -m tests.browser.pictures

.PHONY: lock
lock: $(READY) ## Compile the locks from pyproject.toml: the worker's, the one with traces, the developers', and uv's
	$(PIP) uv
	echo uv | $(COMPILE) - --output-file requirements-uv.txt
	$(COMPILE) pyproject.toml --output-file requirements.txt
	$(COMPILE) --constraints requirements.txt --extra otel pyproject.toml --output-file requirements-otel.txt
	$(COMPILE) --constraints requirements-otel.txt --extra otel --extra dev \
	  pyproject.toml --output-file requirements-dev.txt

.PHONY: clean
clean: ## Remove what was set up
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
