# Two commands for a newcomer: `make quickstart`, `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: quickstart train-quickstart test check evidence clean

quickstart: $(VENV)/light
	$(BIN)/curate build-mixture recipes/quickstart.yaml

train-quickstart: $(VENV)/full quickstart
	$(BIN)/curate train cpt recipes/train/quickstart.yaml

test: $(VENV)/full
	$(BIN)/python -m pytest -m "not slow" -n 2 tests
	$(BIN)/python -m pytest -m slow tests --sample-slow 3

check: $(VENV)/full
	$(BIN)/ruff format --check curate mixture train tests
	$(BIN)/ruff check curate mixture train tests
	$(BIN)/mypy

evidence: $(VENV)/full
	$(PIP) -e ".[bench]"
	$(BIN)/python -m tests.bench.evidence

$(VENV)/light: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/full: $(VENV)/light
	$(PIP) torch
	$(PIP) -e ".[train,lm,dev]"
	touch $@

clean:
	rm -rf build store runs
