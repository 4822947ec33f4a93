# Everything runs in .venv, which is made when it is first needed and brought up to date when pyproject.toml changes.

PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python3.10,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $(name))))
BIN := .venv/bin

.PHONY: help demo docs test test-oldest test-httpx2 live coverage lint types bench bench-quick bench-retrieval bench-answers profile notebooks screenshot wheel clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo    a first conversation, in this terminal, without a key'
	@echo 'make test    every test'
	@echo 'make test-oldest   the adapters with the oldest frameworks they support'
	@echo 'make test-httpx2   the tests of the core with httpx2 in the place of httpx'
	@echo 'make live    what is assumed of the service, seen on the one that LLAMA_CLOUD_API_KEY and LLAMA_CLOUD_INDEX_IDS lead to'
	@echo 'make coverage      the core by its own tests: every line and branch, or it fails'
	@echo 'make docs    the documentation as a site, in build/docs'
	@echo 'make lint    style, formatting, types, and which module may import which'
	@echo 'make types   types alone, also as a program of a user sees them'
	@echo 'make bench   how much time and memory all this takes, beside its peers (bench-quick: in a few minutes)'
	@echo 'make profile   where each hot path spends its time'
	@echo 'make bench-retrieval   how often the embedded service finds what was asked for'
	@echo 'make bench-answers   how often its agent without a model answers rightly, or says that it cannot'
	@echo 'make notebooks   run the notebooks and save them with what they show'
	@echo 'make screenshot   take the pictures of the documentation anew'
	@echo 'make wheel   build the wheel and prove that it works by itself'
	@echo 'make clean   remove .venv and everything that was made'

demo: .venv/demo-installed
	@$(BIN)/llama-cloud-chat demo

test: .venv/dev-installed
	$(BIN)/python -m pytest

test-oldest: .venv-oldest/installed
	.venv-oldest/bin/python -m pytest -W 'ignore::pydantic.warnings.UnsupportedFieldAttributeWarning' tests/langchain tests/llama_index

test-httpx2: .venv/dev-installed
	HTTP_LIBRARY=httpx2 $(BIN)/python -m pytest tests/core

# A handful of short turns; what it makes, it deletes. RECORD=FILE keeps what came, without ids and keys; QUESTION=... is asked.
live: .venv/dev-installed
	$(BIN)/python -m pytest tests/live --live -n 0 -p no:randomly --timeout 600 -q --no-header $(if $(RECORD),--record '$(RECORD)') $(if $(QUESTION),--question '$(QUESTION)')

# Without our own pytest plugin, which would import the core before its coverage is measured.
coverage: .venv/dev-installed
	$(BIN)/python -m pytest tests/core -p no:llama_cloud_chat --cov --cov-report=term-missing:skip-covered

docs: .venv/dev-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	@echo 'The documentation is in build/docs/index.html'

lint: types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/dev-installed
	$(BIN)/mypy
	$(BIN)/mypy tests/typing
	$(BIN)/basedpyright

bench: .venv/bench-installed
	$(BIN)/python -m benchmarks

bench-quick: .venv/bench-installed
	$(BIN)/python -m benchmarks --quick

profile: .venv/bench-installed
	$(BIN)/python -m benchmarks.profile

bench-retrieval: .venv/dev-installed
	$(BIN)/python -m benchmarks.retrieval

# Half of the questions are for judging only: --show shows the others.
bench-answers: .venv/dev-installed
	$(BIN)/python -m benchmarks.answers

notebooks: .venv/dev-installed
	$(BIN)/python -m notebooks.run

screenshot: .venv/dev-installed
	$(BIN)/python -m tests.notebooks.screenshot
	$(BIN)/python -m tests.browser.screenshot
	$(BIN)/python -m tests.cli.screenshot

wheel: .venv/dev-installed
	.ci/check-wheel $(BIN)/python

clean:
	rm -rf .venv .venv-oldest .venv-neighbours .venv-ray build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage

.venv/demo-installed: pyproject.toml | .venv/bin/python
	@echo 'Setting up .venv (a minute or two, once) ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[langchain,llama-index,cli]'
	@touch $@

.venv/dev-installed: pyproject.toml | .venv/bin/python
	@echo 'Setting up .venv with the development tools (a minute or two, once) ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/demo-installed

.venv-oldest/installed: pyproject.toml tests/oldest.txt | .venv/bin/python
	@echo 'Setting up .venv-oldest with the oldest supported frameworks (a minute or two, once) ...'
	@$(BIN)/python -m venv .venv-oldest
	@.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint tests/oldest.txt
	@touch $@

.venv/bench-installed: .venv/dev-installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

.venv/bin/python:
	@test -n '$(PYTHON)' || { echo 'This needs Python 3.10 or newer; none was found. Name one: make PYTHON=/path/to/python3'; exit 2; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo 'Python could not make .venv; on Debian and Ubuntu: apt install python3-venv'; exit 2; }
