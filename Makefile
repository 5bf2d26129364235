# The commands of this repository. `make setup` is implied by all others.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# A test process per core, one thread each: two-thread OpenMP beside a busy neighbour is many times slower than one.
TEST_ENV := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
TEST := $(BIN)/python -m pytest -q -n auto --dist loadfile

.PHONY: setup demo test test-fast check bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[ml,dev]'
	@touch $@

demo: setup           ## train the sample actor on the built-in model and show the pictures
	$(BIN)/greenroom demo

test: setup           ## everything, training included
	$(TEST_ENV) $(TEST)

test-fast: setup      ## without the tests that train for a while
	$(TEST_ENV) $(TEST) -m 'not slow'

check: setup          ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup          ## our training loop against a plain one
	$(BIN)/python benchmarks/train_speed.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
