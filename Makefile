# Everything a newcomer needs: make demo, make test. The rest is for those who work on it.
PYTHON ?= python3.11
BIN := .venv/bin
ARGS ?=
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

.PHONY: help setup demo test check fix bench soak docs lock clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

.venv/runtime: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev: requirements-dev.txt .venv/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

setup: .venv/runtime ## make the environment, nothing else

demo: .venv/runtime ## three simulated hospitals, one linked record (ARGS=--once ends after it)
	$(BIN)/hub demo $(ARGS)

test: .venv/dev ## all tests that finish in minutes; says what it skipped
	$(BIN)/python -m pytest -m "not soak" -n 2 --dist worksteal $(ARGS)

soak: .venv/dev ## the long campaigns: crash, fuzz, official examples
	HYPOTHESIS_PROFILE=random $(BIN)/python -m pytest -m soak --timeout 5400 $(ARGS)

check: .venv/dev ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: .venv/dev ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/runtime ## measure this machine
	$(BIN)/hub bench $(ARGS)

docs: .venv/dev ## write the generated pages again
	$(BIN)/python -m scripts.build_docs

lock: ## pin the dependencies again (needs uv in .venv)
	$(UV_COMPILE) pyproject.toml -o requirements.txt
	$(UV_COMPILE) --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt

clean: ## remove the environment and caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
