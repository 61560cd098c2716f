# `make` alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LISTEN ?= 127.0.0.1:50051
# Most tests wait for servers half of their time. In the order of their names, files with many short
# tests come last: ordered by their number, those with a few long ones would, one process after all.
# OpenMP's threads wait without spinning: spinning, models took twice as long beside another process.
TEST_PROCESSES ?= 2
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock

# coqui-tts has a command `tts`, too: ours is to be the one that stays.
FIT_XTTS = $(PIP_INSTALL) --no-deps --force-reinstall --editable . && scripts/fit-torchaudio

export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/.run ## Install what the default engine needs and serve on 127.0.0.1:50051
	@exec tts-service serve --listen $(LISTEN)

.PHONY: xtts
xtts: $(VENV)/.xtts ## Install what the engine XTTS v2 needs beside the default one

.PHONY: test
test: $(VENV)/.dev ## Install everything and run the tests
	@scripts/test-tools
	@OMP_WAIT_POLICY=passive python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: test-wide
test-wide: $(VENV)/.dev ## The tests of XTTS with all their seeds, sizes and schedules (some 30 minutes)
	TEST_WIDTH=wide python -m pytest --timeout 3600 $(ARGS) tests/engines/xtts

.PHONY: soak-cache
soak-cache: $(VENV)/.dev ## Kill, share and damage the cache for longer (some 6 minutes)
	SOAK_ROUNDS=500 SOAK_SECONDS=60 python -m pytest -s --timeout 3600 $(ARGS) \
		tests/faults/test_cache_database.py tests/faults/test_cache_crashes.py \
		tests/faults/test_cache_shared.py

.PHONY: soak
soak: $(VENV)/.dev ## Call, break and watch the service for an hour (SOAK_MINUTES=60)
	python benchmarks/soak.py --minutes $(or $(SOAK_MINUTES),60) --json build/soak/soak.json $(ARGS)

.PHONY: soak-matrix
soak-matrix: $(VENV)/.dev ## Every method against every fault, a hundred rounds (40 to 100 minutes)
	SOAK_ROUNDS=$(or $(SOAK_ROUNDS),100) SOAK_JSON=build/soak/matrix.json \
		python -m pytest -s --timeout 0 $(ARGS) tests/faults/test_matrix.py

.PHONY: fuzz
fuzz: $(VENV)/.dev ## A hundred thousand odd messages and frames (FUZZ_CASES, FUZZ_SEED)
	FUZZ_CASES=$(or $(FUZZ_CASES),100000) FUZZ_SEED=$(or $(FUZZ_SEED),$(shell date +%s)) \
		python -m pytest -s --timeout 0 $(ARGS) tests/fuzz/test_wire.py

.PHONY: check
check: $(VENV)/.dev ## Lint, types and contracts
	ruff check .
	ruff format --check .
	mypy
	mypy benchmarks
	scripts/check-protos

.PHONY: format
format: $(VENV)/.dev ## Format the code
	ruff format .
	ruff check --fix .
	buf format --write

.PHONY: protos
protos: $(VENV)/.dev ## Generate the stubs
	scripts/make-protos

.PHONY: bench
bench: $(VENV)/.bench ## Measure the claims of the README against others (30 to 50 minutes)
	python benchmarks $(ARGS)

.PHONY: bench-xtts
bench-xtts: $(VENV)/.dev ## Measure XTTS against stock coqui-tts (some 15 minutes on two cores)
	python benchmarks/xtts.py $(ARGS)
	python benchmarks/xtts_memory.py

.PHONY: tools
tools: ## Install the Debian packages that the tests use
	@scripts/test-tools

.PHONY: lock
lock: ## Renew requirements.lock and requirements/ from the newest versions that fit
	@scripts/make-lock

.PHONY: test-locked
test-locked: ## Install requirements/ into a fresh environment, by hash, and speak (some 2 minutes)
	@scripts/test-locked

.PHONY: audit
audit: $(VENV)/.dev ## Look the locked packages up among known vulnerabilities
	@$(PIP_INSTALL) pip-audit
	@scripts/audit

.PHONY: clean
clean: ## Remove what was made
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "tts-service needs Python 3.11 or newer; name one with: make PYTHON=python3.12" >&2; exit 1; }
	@echo "making the environment in $(VENV)" >&2
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.run: $(VENV)/bin/python pyproject.toml requirements.lock
	@echo "installing the server and its default voice (some 450 MB, once)" >&2
	@$(PIP_INSTALL) --editable '.[server,piper]'
	@touch $@

$(VENV)/.xtts: $(VENV)/bin/python pyproject.toml requirements.lock
	@echo "installing the server and what XTTS needs (some 2 GB, once)" >&2
	@$(PIP_INSTALL) --editable '.[server,piper,xtts]'
	@$(FIT_XTTS)
	@touch $@ $(VENV)/.run

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml requirements.lock
	@echo "installing everything for development (once)" >&2
	@$(PIP_INSTALL) --editable '.[dev]'
	@$(FIT_XTTS)
	@touch $@ $(VENV)/.run $(VENV)/.xtts

$(VENV)/.bench: $(VENV)/.dev
	@echo "installing what the benchmarks compare with (once)" >&2
	@$(PIP_INSTALL) --editable '.[dev,bench]'
	@touch $@
