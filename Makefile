# Everyday commands. Each target says what it does; `make help` lists them.
PYTHON ?= python
JOBS ?= 2

.PHONY: help native native-test

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

native:  ## build the native module and put it next to the Python sources
	cmake -S . -B build/native -DCMAKE_BUILD_TYPE=Release -DPython_EXECUTABLE="$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	cmake --build build/native -j $(JOBS)
	cp build/native/_native*.so src/weft/

native-test:  ## test the native core under the address, undefined-behaviour and thread sanitizers
	cmake -S . -B build/asan -DWEFT_MODULE=OFF -DWEFT_NATIVE_TESTS=ON -DWEFT_WERROR=ON -DWEFT_SANITIZE=address,undefined
	cmake --build build/asan -j $(JOBS)
	ctest --test-dir build/asan --output-on-failure
	cmake -S . -B build/tsan -DWEFT_MODULE=OFF -DWEFT_NATIVE_TESTS=ON -DWEFT_WERROR=ON -DWEFT_SANITIZE=thread
	cmake --build build/tsan -j $(JOBS)
	ctest --test-dir build/tsan --output-on-failure
