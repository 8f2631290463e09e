# Two commands matter on a fresh machine: `make demo` and `make test`. Both set everything up first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q

export FLWR_TELEMETRY_ENABLED = 0
export FLWR_DISABLE_UPDATE_CHECK = 1

.PHONY: help demo test test-all lint format bench utility docs engine lock clean

help:
	@echo "make demo      a federation of virtual DIZ on this machine, with a report to look at"
	@echo "make test      the tests that need nothing but Python"
	@echo "make test-all  those and the slow ones, with R, Chromium, Docker and peers where installed"
	@echo "make engine    a Docker Engine on a bare Debian, as root"
	@echo "make lint      ruff, mypy strict, import contracts"
	@echo "make bench     measure against peers, write benchmarks/RESULTS.md"
	@echo "make utility   measure what noise leaves of two small models, write docs/utility.md"
	@echo "make docs      write what docs/ derives from the code"
	@echo "make clean     remove what make made"

# One virtual environment with locked versions; torch comes from its own pin in constraints.txt.
$(VENV)/.ready: constraints.txt requirements-data.txt pyproject.toml strategies/pyproject.toml vetted/pyproject.toml use_cases/methylation-age/pyproject.toml use_cases/federated-statistics/pyproject.toml use_cases/gene-expression/pyproject.toml use_cases/methylation-age-private/pyproject.toml use_cases/gene-expression-private/pyproject.toml use_cases/kernel-age/pyproject.toml use_cases/gwas/pyproject.toml use_cases/gwas-private/pyproject.toml use_cases/multimodal-imaging/pyproject.toml use_cases/multimodal-imaging-private/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "flame_fl needs Python 3.11 to 3.13; set PYTHON=python3.11, for example."; exit 1; }
	@echo "Setting up $(VENV) (once, some minutes: torch alone is 200 MB) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -c constraints.txt torch
	@$(PIP) install -c constraints.txt -e '.[report,dev,stores,node]' -e strategies -e 'vetted[torch]' -e use_cases/methylation-age -e use_cases/federated-statistics -e use_cases/gene-expression -e use_cases/methylation-age-private -e use_cases/gene-expression-private -e use_cases/kernel-age -e use_cases/gwas -e use_cases/gwas-private -e use_cases/multimodal-imaging -e use_cases/multimodal-imaging-private
	@$(PIP) install --no-deps -r requirements-data.txt
	@touch $@

demo: $(VENV)/.ready
	$(BIN)/flame demo use_cases/methylation-age

test: $(VENV)/.ready
	$(BIN)/python -m pytest -m "not slow and not docker and not browser and not peer"

# What needs the Docker Engine comes by itself: one of these tests kills it.
test-all: $(VENV)/.ready
	@$(PIP) install --no-deps -r requirements-oracles.txt
	$(BIN)/python -m pytest -n 2 -m "not docker"
	$(BIN)/python -m pytest -m docker

engine:
	@tests/support/engine.sh

lint: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

utility: $(VENV)/.ready
	$(BIN)/python benchmarks/utility.py --document

bench: $(VENV)/.ready
	$(PIP) install -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/run.py

docs: $(VENV)/.ready
	$(BIN)/python -m flame_fl.contract.schema
	$(BIN)/python -m tests.security.attack_table

# Compile the lock anew, on Python 3.11, from a scratch environment with all extras.
lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip -q install torch==2.13.0 flwr==1.41.0
	.venv-lock/bin/python -m pip -q install -e '.[report,dev,stores,node,bench]' -e strategies -e 'vetted[torch]' -e use_cases/methylation-age -e use_cases/federated-statistics -e use_cases/gene-expression -e use_cases/methylation-age-private -e use_cases/gene-expression-private -e use_cases/kernel-age -e use_cases/gwas -e use_cases/gwas-private -e use_cases/multimodal-imaging -e use_cases/multimodal-imaging-private
	( echo "# Locked versions for make, compiled on Python 3.11 by 'make lock'."; \
	  .venv-lock/bin/python -m pip freeze --all --exclude-editable | grep -v -e '@' -e '^pip==' \
	  | sed 's/^torch==.*/torch==2.13.0/' ) > constraints.txt
	rm -rf .venv-lock

clean:
	rm -rf $(VENV) .venv-lock build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
