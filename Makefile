# Everything runs in .venv, which the first target makes. `make demo` and `make test` need Python 3.11 or 3.12, pip and make.
#     make test PYTHON=python3.12                # with another Python
#     make test CONSTRAINTS=.ci/oldest.txt       # with the oldest libraries that pyproject.toml allows
PYTHON ?= python3.11
CONSTRAINTS ?=
VENV := .venv
BIN := $(VENV)/bin
# Names Python and constraints, so that a change of either makes .venv anew.
INSTALLED := $(VENV)/.installed$(addprefix -,$(filter-out python3.11,$(notdir $(PYTHON))))$(addprefix -,$(notdir $(CONSTRAINTS)))
STUDY ?= studies/demo
export RAY_USAGE_STATS_ENABLED = 0
export OMP_WAIT_POLICY = PASSIVE

.PHONY: demo test quick check lint types bench fuzz drills evidence teacher curves clean

demo: $(INSTALLED)  ## draw roads, train a teacher, search students, print the pick
	$(BIN)/intra-search run search_spaces/quickstart.toml --study $(STUDY)

# Types are checked against the newest libraries: the annotations of older ones differ.
test: lint $(if $(CONSTRAINTS),,types)  ## what CI runs
	$(BIN)/pytest -m "not drill" --numprocesses 2 --dist loadgroup

quick: $(INSTALLED)  ## the tests without a Ray cluster
	$(BIN)/pytest -m "not drill and not ray and not real"

check: test

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(INSTALLED)
	$(BIN)/mypy

drills: $(INSTALLED)  ## kill drivers and workers many times; takes long
	$(BIN)/pytest -m drill --timeout 3600

fuzz: $(INSTALLED)  ## malformed inputs to every reader, above ten thousand
	FUZZ_CASES=700 $(BIN)/pytest tests/fuzz --numprocesses 2 --timeout 3600

bench: $(INSTALLED)  ## ratios to a rival in the same run
	for file in tests/bench/bench_*.py; do $(BIN)/python $$file || exit 1; done

teacher: $(INSTALLED)  ## train the teacher that comes with the package again, and put it in its place
	$(BIN)/python launch/shipped_teacher.py

CURVES := tests/evidence/fixed_trainings.py

evidence: $(INSTALLED)  ## long studies behind defaults and claims; each says how to read it
	for file in $(filter-out $(CURVES),$(wildcard tests/evidence/*.py)); do PYTHONPATH=. $(BIN)/python $$file || exit 1; done

curves: $(INSTALLED)  ## loss curves of three fixed trainings; a refactor prints the same before and after
	@PYTHONPATH=. $(BIN)/python $(CURVES)

clean:
	rm -rf $(VENV)

# A .venv of another Python, or with other constraints, has another stamp and is cleared.
$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(if $(wildcard $(INSTALLED)),,--clear) $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(addprefix --constraint ,$(CONSTRAINTS)) --editable ".[dev]"
	touch $@
