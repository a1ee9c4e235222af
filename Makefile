# Two commands do all the set-up on a machine that has python3.11 and make: `make run` and `make test`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
	--custom-compile-command "make requirements" $(UPGRADE)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/$(if $(CONFIG),.all,.base) ## Run the demo; with CONFIG=file.yml, serve that configuration
	@exec $(BIN)/llm-cost-exporter $(if $(CONFIG),serve --config.file "$(CONFIG)",demo)

.PHONY: test
test: system lint types unit e2e ## Install what the tests need, then lint, check types, run all tests

.PHONY: system
system: ## Install the Debian packages that the end-to-end tests drive, where missing
	@.ci/system

.PHONY: lint
lint: $(VENV)/.dev ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(VENV)/.dev ## Check types
	$(BIN)/mypy

.PHONY: unit
unit: $(VENV)/.dev ## Run the tests that need no other program
	$(BIN)/pytest -q --ignore tests/e2e

.PHONY: e2e
e2e: $(VENV)/.dev ## Run the tests against real programs (Prometheus, Alertmanager, Chromium)
	$(BIN)/pytest -q tests/e2e

.PHONY: bench
bench: $(VENV)/.dev ## Run the benchmarks; fails if a figure misses its target
	@failed=; for bench in tests/benchmarks/bench_*.py; do \
	  line=$$($(BIN)/python "$$bench") || failed=1; \
	  echo "$$line"; \
	  grep -q '"ok": *false' <<<"$$line" && failed=1; \
	done; [ -z "$$failed" ]

.PHONY: fmt
fmt: $(VENV)/.dev ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: generate
generate: $(VENV)/.dev ## Write the dashboards, the chart's copies of rules and boards, and the plain manifests anew
	$(BIN)/python -m dashboards.grafana.generate
	$(BIN)/python deploy/generate.py

.PHONY: draw
draw: $(VENV)/.dev ## Draw the dashboards with Grafana's components into docs/ (needs node and npm, 435 MB)
	PYTHON=$(BIN)/python dashboards/draw/draw.sh

.PHONY: requirements
requirements: $(VENV)/.base ## Pin the requirements again; UPGRADE=--upgrade for the newest versions
	$(COMPILE) pyproject.toml --output-file requirements/base.txt
	$(COMPILE) pyproject.toml --extra all --constraint requirements/base.txt --output-file requirements/all.txt
	$(COMPILE) pyproject.toml --extra dev --constraint requirements/base.txt --constraint requirements/all.txt \
		--output-file requirements/dev.txt
	$(COMPILE) --group build --output-file requirements/build.txt

.PHONY: clean
clean: ## Remove what was installed, built and cached; data/ stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# Stamps: nothing is installed again until a pin or pyproject.toml changes.
$(VENV)/.base: pyproject.toml requirements/build.txt requirements/base.txt
	@.ci/install $(VENV) base
	@touch $@

$(VENV)/.all: pyproject.toml requirements/build.txt requirements/all.txt
	@.ci/install $(VENV) all
	@touch $@ $(VENV)/.base

$(VENV)/.dev: pyproject.toml requirements/build.txt requirements/base.txt requirements/all.txt requirements/dev.txt
	@.ci/install $(VENV) dev
	@touch $@ $(VENV)/.base $(VENV)/.all
