# Everyday commands. Each target says what it does; `make help` lists them.
PYTHON ?= python
JOBS ?= 2
# The commands for users (demo, test, lint, bench) install the package into an environment of their own.
BASE_PYTHON ?= python3
VENV ?= .venv
INSTALLED := $(VENV)/installed
SOURCES := pyproject.toml CMakeLists.txt $(shell find src native -type f -not -name '*.so' -not -name '*.pyc')

.PHONY: help demo test lint bench asv clean native native-test

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(INSTALLED): $(SOURCES)
	test -x $(VENV)/bin/python || $(BASE_PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check '.[demo,test,lint,viz]'
	touch $@

demo: $(INSTALLED)  ## train the digits classifier in all three modes, compare, write weft-report.html
	$(VENV)/bin/weft demo $(DEMO_ARGS)

test: $(INSTALLED)  ## run the tests
	$(VENV)/bin/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

lint: $(INSTALLED)  ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(INSTALLED)  ## time Weft against NumPy, and PyTorch and JAX where they are installed in .venv
	$(VENV)/bin/python -m benchmarks $(BENCH_ARGS)

asv: $(INSTALLED)  ## run the asv suite once against the working tree
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'asv>=0.6.4'
	$(VENV)/bin/asv machine --yes
	$(VENV)/bin/asv run --quick --python=same --show-stderr $(ASV_ARGS)

clean:  ## remove what these commands made
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis weft-report.html src/weft/_native*.so

native:  ## build the native module and put it next to the Python sources
	cmake -S . -B build/native -DCMAKE_BUILD_TYPE=Release -DPython_EXECUTABLE="$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	cmake --build build/native -j $(JOBS)
	install -m 755 build/native/_native*.so src/weft/  # a new file: processes that have the old one mapped go on

native-test: export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
native-test: $(INSTALLED)  ## test the native core under the address, undefined-behaviour and thread sanitizers
	cmake -S . -B build/asan -DWEFT_MODULE=OFF -DWEFT_NATIVE_TESTS=ON -DWEFT_WERROR=ON -DWEFT_SANITIZE=address,undefined
	cmake --build build/asan -j $(JOBS)
	ctest --test-dir build/asan -j $(JOBS) --output-on-failure
	cmake -S . -B build/tsan -DWEFT_MODULE=OFF -DWEFT_NATIVE_TESTS=ON -DWEFT_WERROR=ON -DWEFT_SANITIZE=thread
	cmake --build build/tsan -j $(JOBS)
	ctest --test-dir build/tsan -j $(JOBS) --output-on-failure
