# make demo runs the main job, make test passes the tests; both make .venv where it is missing.
PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready
ARGS   ?=
# Processes for the tests, each with one thread; a file's tests stay together, since they share what is dear to make.
# Files keep their order: by their number of tests, those of whole runs would come last, one after another.
JOBS   ?= 2
SPREAD := --dist loadfile --no-loadscope-reorder

# Idle OpenMP threads spin by default: on shared cores that costs up to 27 times the time of the work itself.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: help demo test test-all api format clean

help:
	@echo "make demo       set up, then train three attentions on written clinical notes and report which to take (about 5 minutes)"
	@echo "make test       set up, then run the tests (under 10 minutes)"
	@echo "make test-all   the slow tests too"
	@echo "make api        the reference of the Python interface, from its docstrings, into outputs/api"
	@echo "make format     format and lint"
	@echo "make clean      remove .venv and caches; outputs/ stays"

demo: $(READY)
	$(PY) train.py -m experiment=demo attention=dense,sliding_window,linear seed=1,2,3 sweep.jobs=2 $(ARGS)

test: $(READY)
	$(PY) -m pytest -n $(JOBS) $(SPREAD) $(ARGS)

test-all: $(READY)
	$(PY) -m pytest -n $(JOBS) $(SPREAD) -m "not gpu" $(ARGS)

# What others build on; a package stands for all of its modules.
API := manyheads.load manyheads.errors $(addprefix manyheads.attention.,load base mask bias exact rules patterns) \
	$(addprefix manyheads.,position model data task pruning export.loader)
OUT ?= outputs/api

api: $(READY)
	$(VENV)/bin/pdoc --no-search --docformat google -o $(OUT) $(API)

format: $(READY)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache

# The stamp is written last, so that a set-up that was cut off is done again.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "manyheads needs Python 3.11 or newer; this is %d.%d. Set PYTHON=…" % sys.version_info[:2])'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --progress-bar off --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
