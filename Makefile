# make quickstart and make test need nothing but python3 and make: they create .venv and install into it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-slow check docs bench bench-cuda clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.run: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing aigc and what it needs into $(VENV); the first time this takes a minute or two."
	@# torch first, by its exact version: a range may pull gigabytes of CUDA packages onto a machine without a GPU.
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Installing the tools for tests and documentation."
	$(PIP) --editable '.[dev,docs]'
	@touch $@

quickstart: $(VENV)/.run  ## Write three texts with the model in the package; no network at run time
	@$(BIN)/python examples/quickstart.py

test: $(VENV)/.dev  ## Run the tests and the examples in docstrings, some minutes
	@# A process a core, each with one thread: small operations gain nothing from more.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4

test-slow: $(VENV)/.dev  ## Run the tests that take longer
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 -m slow

check: $(VENV)/.dev  ## Format, lint, types, layers, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: $(VENV)/.dev  ## Serve the documentation on this machine
	$(BIN)/mkdocs serve

bench: $(VENV)/.dev  ## Run the benchmarks; results go to benchmarks/results
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/sampling.py
	$(BIN)/python benchmarks/samplers.py
	$(BIN)/python benchmarks/equality.py
	$(BIN)/python benchmarks/invariance.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python benchmarks/sessions.py

bench-cuda: $(VENV)/.dev  ## Run the benchmarks that need a GPU
	$(BIN)/python benchmarks/sampling_cuda.py
	$(BIN)/python benchmarks/decoding_cuda.py

clean:  ## Remove what the other targets made
	rm -rf $(VENV) site dist build
