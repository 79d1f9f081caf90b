# make demo: everything from nothing to a restored slice in demo/.
# make test: checks and tests, as continuous integration runs them.
# make docs: the documentation site in build/docs/.
PYTHON ?= python3
VENV ?= .venv

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

.PHONY: demo test lint docs clean

demo: $(VENV)/.installed
	$(BIN)/sff-napari demo -o demo

test: $(VENV)/.tox
	bash .ci/system-libraries
	$(BIN)/python -m tox run -q -e lint,py

lint: $(VENV)/.tox
	$(BIN)/python -m tox run -q -e lint

docs: $(VENV)/.tox
	$(BIN)/python -m tox run -q -e docs

clean:
	rm -rf docs/gallery docs/reference/generated docs/sg_execution_times.rst
	rm -rf $(VENV) .tox demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.made:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: name it with make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.tox: $(VENV)/.made
	$(BIN)/python -m pip install --quiet "tox>=4.22,<5"
	touch $@
