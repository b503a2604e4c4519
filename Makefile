# The few words to remember; CI uses the same. Everything lives in .venv and .prefworks, in this folder.
PYTHON ?= python3
WORKERS ?= 2
export PREFWORKS_HOME ?= $(CURDIR)/.prefworks
export DO_NOT_TRACK := 1
BIN := .venv/bin

.PHONY: help install dev tools demo demo-prompts up down test test-slow test-readme check

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

install:  ## the environment, as it was tested; done once
	@$(PYTHON) scripts/install.py

dev:
	@$(PYTHON) scripts/install.py --dev

tools:  # for tests/e2e, and one of the sandbox's ways
	@scripts/tools.sh

demo: install  ## the whole job on the example, from pairs to a deployed model
	@$(BIN)/prefworks demo

demo-prompts: install  ## the same from prompts alone: pairs are made with the model that `make demo` tuned
	@$(BIN)/prefworks demo --prompts

up: install  ## Prefect with its UI, a worker and the local server, until `make down`
	@$(BIN)/prefworks up

down:  ## stop what `make up` started
	@test ! -x $(BIN)/prefworks || $(BIN)/prefworks down

test: dev  ## the suite
	@$(BIN)/python -m pytest -m "not slow" -q -n $(WORKERS) --dist loadfile

test-slow: dev tools  ## real sweeps, installs, the browser
	@$(BIN)/python -m pytest -m "slow and not demo" -q -n $(WORKERS) --dist loadgroup

test-readme: dev tools  ## every command of the README and the docs, the demo included
	@$(BIN)/python -m pytest -m demo -q

check: dev  ## format, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
