# make help says what there is. The only things it puts outside this folder are distribution packages, and
# only those that are missing (.ci/packages).

PYTHON ?= python3
ARGS ?=
N ?= 3

BIN := .venv/bin
# Tests of one file stay together, and much of their time is waiting; those of the lab run one after another.
PARALLEL := -n 3 --dist loadfile
# The code runs from the work tree; tests/ is where the lab lives.
LAB := PYTHONPATH=tests $(BIN)/python -m lab

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup run live test check lab lab-down lab-packages bench screenshots lint clean

help:
	@echo 'make run          the console, on your fleet file, or else on the simulated demo fleet'
	@echo 'make live         the console on real hypervisors: builds a lab of N=3 hosts and takes it down (root)'
	@echo 'make setup        what these two need: distribution packages, .venv'
	@echo 'make test         every test, the lab included if you are root'
	@echo 'make check        the tests that need no lab'
	@echo 'make lint         ruff, mypy, import-linter'
	@echo 'make lab          build a lab of N=3 hosts that stays; the last line is its fleet file (root)'
	@echo 'make lab-down     take it down'
	@echo 'make bench        the figures of the README'
	@echo 'make screenshots  the pictures under screenshots/'
	@echo 'make clean        remove .venv and all that is built'
	@echo 'ARGS="..." goes to virtfleet, PYTHON=... is the interpreter of .venv'

# ---- what the targets stand on

setup: .venv/.run
	@echo '== ready: $(BIN)/virtfleet' >&2

.venv/.run: pyproject.toml hatch_build.py
	@.ci/packages build $(PYTHON)
	@echo '== Python packages into .venv, for virtfleet itself' >&2
	@$(BIN)/python -c 'import pip' 2>/dev/null || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable .
	@$(BIN)/python -m compileall -q core tui || true
	@touch $@

.venv/.dev: .venv/.run
	@echo '== Python packages into .venv, for tests and linters' >&2
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[dev]'
	@touch $@

lab-packages:
	@.ci/packages lab

# ---- use

run: .venv/.run
	@$(BIN)/virtfleet $(ARGS)

live: .venv/.run lab-packages
	@echo '== building a lab of $(N) hosts; it is taken down when the console ends' >&2
	@PYTHONPATH=tests $(BIN)/python -m lab.live --hosts $(N) -- $(BIN)/virtfleet $(ARGS)

lab: .venv/.run lab-packages
	@$(LAB) up --hosts $(N)

lab-down: .venv/.run
	@$(LAB) down

# ---- proof

# Without root the tests of the lab skip themselves and say so. With CI=true a lab that can't start fails.
test: .venv/.dev
	@if [ "$$(id -u)" = 0 ] && [ "$$(uname)" = Linux ]; then \
	    .ci/packages lab || [ "$$CI" != true ]; \
	fi
	@failed=0; \
	$(BIN)/pytest $(PARALLEL) -m 'not lab and not bench' || failed=1; \
	$(BIN)/pytest -m 'lab and not bench' || failed=1; \
	exit $$failed

check: .venv/.dev
	@$(BIN)/pytest $(PARALLEL) -m 'not lab and not bench'

# Every linter has its say before the first failure counts.
lint: .venv/.dev
	@failed=0; \
	$(BIN)/ruff format --check . || failed=1; \
	$(BIN)/ruff check . || failed=1; \
	$(BIN)/mypy || failed=1; \
	$(BIN)/lint-imports || failed=1; \
	exit $$failed

bench: .venv/.dev
	@PYTHONPATH=core:tui:tests $(BIN)/python -m bench $(ARGS)

screenshots: .venv/.dev
	@PYTHONPATH=core:tui:tests $(BIN)/python tests/tui/screenshots.py

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
