# Each target does all its own set-up in .venv; a second run starts at once.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: lab serve test lint clean

lab: .venv/ready
	$(BIN)/labserve lab

serve: .venv/ready
	$(BIN)/labserve serve

test: .venv/tested lint
	$(BIN)/pytest

lint: .venv/tested
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf .venv

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "labserve needs Python 3.11 or later; try: make PYTHON=python3.12 lab"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { echo "Making .venv failed; on Debian or Ubuntu: apt install python3-venv"; rm -rf .venv; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/tested: .venv/ready
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@
