# Every target creates what it needs; nothing but Python 3.11+ and make is asked of you.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PYTEST := $(BIN)/python -m pytest
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help test lint shapes slow clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) $$(grep '^torch==' constraints.txt)
	$(PIP) -e .
	@touch $@

$(VENV)/test: $(VENV)/core
	$(PIP) -e '.[test]'
	@touch $@

$(VENV)/lint: $(VENV)/core
	$(PIP) -e '.[lint]'
	@touch $@

test: $(VENV)/test ## the quick suite
	$(PYTEST) -n $(JOBS) -m 'not slow' --doctest-modules src tests

slow: $(VENV)/test ## the slow suite: minutes, uses ROSENBLATT_DATA where it is set
	$(PYTEST) -m slow

shapes: $(VENV)/test ## the quick suite with every jaxtyping shape checked
	$(PYTEST) -m 'not slow' --jaxtyping-packages=rosenblatt.models,rosenblatt.losses,beartype.beartype

lint: $(VENV)/lint ## ruff: style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean: ## remove the environment and everything generated
	rm -rf $(VENV) build dist site out .pytest_cache .ruff_cache .hypothesis
