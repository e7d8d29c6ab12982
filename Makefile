# Everything runs in .venv, which the first target makes. `make demo` and `make test` need Python 3.11, pip and make only.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STUDY ?= studies/demo
export RAY_USAGE_STATS_ENABLED = 0
export OMP_WAIT_POLICY = PASSIVE

.PHONY: demo test quick check lint types bench drills evidence clean

demo: $(VENV)/.installed  ## draw roads, train a teacher, search students, print the pick
	$(BIN)/intra-search run search_spaces/quickstart.toml --study $(STUDY)

test: lint types  ## what CI runs
	$(BIN)/pytest -m "not drill" --numprocesses 2 --dist loadgroup

quick: $(VENV)/.installed  ## the tests without a Ray cluster
	$(BIN)/pytest -m "not drill and not ray and not real"

check: test

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed
	$(BIN)/mypy

drills: $(VENV)/.installed  ## kill drivers and workers many times; takes long
	$(BIN)/pytest -m drill --timeout 3600

bench: $(VENV)/.installed  ## ratios to a rival in the same run
	for file in tests/bench/bench_*.py; do $(BIN)/python $$file || exit 1; done

evidence: $(VENV)/.installed  ## long studies behind defaults and claims; each says how to read it
	for file in tests/evidence/*.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV)

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@
