# One entry for each thing a person does here. `make demo` and `make test` are all the set-up there is:
# they create .venv, install what constraints.txt pins, and run.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install demo doctor test test-fast test-all chaos lint format lock clean

# The first of these that is a Python we support; override with `make install PYTHON=/path/to/python3.11`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
# Two processes of tests: one has everything with a Ray cluster, which mostly waits.
SIDE_BY_SIDE ?= -n 2 --dist loadscope --no-loadscope-reorder --durations 15
DEMO_MOTION ?= dabbing
# A folder for each motion: make demo DEMO_MOTION=drumming DEMO_OUT=demo-drumming
DEMO_OUT ?= demo

# DeepSpeed looks for ninja on PATH, and Ray's workers inherit it.
RUN := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 12

install: $(STAMP) ## create .venv with the pinned packages (about 3 minutes, 7 GB; later calls are instant)

# The stamp is written last: an interrupted install is taken up again by the next call, from pip's cache.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "motion_ray needs Python 3.11 or 3.12: install it (Debian: apt install python3.11)" \
		"or name one, e.g. make install PYTHON=/usr/bin/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v[:2] < (3, 13) or sys.exit( \
		f"motion_ray needs Python 3.11 or 3.12, but $(PYTHON) is {v[0]}.{v[1]}; name another, e.g. make install PYTHON=python3.11")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments;" \
		"on Debian: apt install python3-venv" >&2; exit 1; }
	@rm -f $(STAMP)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --no-input -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip check
	@touch $(STAMP)

demo: install ## learn a held-out motion of the puppet world and show it: demo/run/report.html
	$(RUN) -m motion_ray.data.puppets --motion "$(DEMO_MOTION)" --out "$(DEMO_OUT)"
	$(RUN) -m jobs.customize --recipe puppet --motion "$(DEMO_OUT)/motion" --out "$(DEMO_OUT)/run" \
		--set regularization.folder="$(DEMO_OUT)/regularization" $(ARGS)

# The demo's own clips have regularization clips beside them; of others, ARGS says where those are.
doctor: install ## show what the loader would feed, e.g. make doctor MOTION=my-clips OUT=doctor
	$(RUN) -m jobs.doctor --motion "$${MOTION:-$(DEMO_OUT)/motion}" --out "$${OUT:-$(DEMO_OUT)/doctor}" \
		$(if $(MOTION),,--set regularization.folder="$(DEMO_OUT)/regularization") $(ARGS)

test: install ## all tests but those that need a GPU, much memory or much time (under 15 minutes on 2 cores)
	$(RUN) -m pytest -m "not gpu and not large and not chaos" $(SIDE_BY_SIDE) $(ARGS)

test-fast: install ## the tests that take seconds
	$(RUN) -m pytest -m "not gpu and not large and not chaos and not slow and not ray" $(ARGS)

chaos: install ## sixty trials on three nodes while workers, drivers, nodes and the script are killed
	$(RUN) -m pytest tests/ray/test_sweep.py -m chaos $(ARGS)

test-all: install ## every test this machine can run (hours)
	$(RUN) -m pytest $(ARGS)

lint: install ## ruff, ruff format and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: install ## sort imports, fix what ruff can, format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Newest versions that pyproject.toml allows, in an environment of their own; review the diff, then run the tests.
lock: ## write constraints.txt anew
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --no-input -e ".[dev,gcp]"
	.venv-lock/bin/python -m pip check
	{ sed -n '/^#/p' constraints.txt; .venv-lock/bin/python -m pip freeze --all --exclude pip --exclude wheel --exclude-editable; } > constraints.new
	mv constraints.new constraints.txt
	rm -rf .venv-lock

clean: ## remove the environment, the demo and every cache
	rm -rf $(VENV) .venv-lock demo build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
