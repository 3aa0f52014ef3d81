# Everything a person does with Hookline. `make help` lists it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

# Hashed and complete: nothing is installed that requirements-dev.lock does not name. --no-deps checks nothing anew.
$(VENV)/installed: requirements-dev.lock pyproject.toml
	@echo "Setting up $(VENV) (once, about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Hookline needs Python >= 3.11; name one with: make PYTHON=python3.12 …" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

.PHONY: setup
setup: $(VENV)/installed ## Set up the virtual environment

.PHONY: run
run: setup ## Try Hookline on this machine (ONCE=1: stop when all 20 events arrived)
	@$(BIN)/hookline demo $(if $(ONCE),--once)

.PHONY: test
test: setup lint current ## Lint, types, import rules, generated files, all tests (WORKERS=0: never two at once)
	@$(BIN)/pytest -q -n auto tests/unit
	@# They mostly wait: two at once take little more than half the time.
	@$(BIN)/pytest -n $(or $(WORKERS),2) --dist worksteal --durations=15 tests/component
	@# One after the other: they share a cluster. Builds Kubernetes the first time.
	@$(BIN)/pytest --durations=15 tests/cluster

.PHONY: unit
unit: setup ## The tests of tests/unit alone, quick: no server, no cluster
	@$(BIN)/pytest -q -n auto tests/unit

.PHONY: e2e
e2e: setup ## The shipped manifests in a one-node cluster on this machine (root; builds Kubernetes once, about 15 minutes)
	@$(BIN)/pytest tests/e2e --durations=0 --durations-min=5

.PHONY: cluster
cluster: setup ## A Kubernetes API server to try things on (DOWN=1 ends it)
	@PYTHONPATH=tests $(BIN)/python -m controlplane $(if $(DOWN),down,up)

.PHONY: image
image: setup ## Build the container image with docker, podman or buildah, or without any of them as build/hookline.tar
	@PYTHONPATH=tests $(BIN)/python -m controlplane.image

.PHONY: lint
lint: setup ## ruff, mypy, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "some files are not formatted; run: make format" >&2; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

.PHONY: format
format: setup ## Format the code
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

.PHONY: fuzz
fuzz: setup ## Hostile URLs, addresses, hints and answers, many more of them than in make test (FUZZ_EXAMPLES=20000)
	@FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),5000) $(BIN)/pytest --timeout 3600 tests/unit/control/test_fuzz_objects.py tests/unit/delivery/http/test_fuzz_egress.py tests/unit/routing/test_verdict.py tests/component/test_fuzz_answers.py

.PHONY: generate
generate: setup ## Write crds/, schemas/ and manifests/samples/ from the code
	@$(BIN)/python -m hookline.generate

.PHONY: current
current: setup ## Check that generated files are current
	@$(BIN)/python -m hookline.generate --check

.PHONY: bench
bench: setup ## What delivery costs and holds: speed, latency, isolation, fairness, memory, the gateway (ARGS="--quick", "--only a,c"; 50 minutes)
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks.bench $(ARGS)

.PHONY: flame
flame: setup ## Where the CPU of a sender and of nats-server goes: flame graphs, and shares of their parts
	@PYTHONPATH=. $(BIN)/python -m benchmarks.flame $(ARGS)

.PHONY: soak
soak: setup ## 20 minutes at 70 % load while everything around fails (ARGS="--minutes 2"): nothing lost, nothing grows
	@PYTHONPATH=. $(BIN)/python -m benchmarks.soak $(ARGS)

.PHONY: bench-operator
bench-operator: setup ## The operator with 100, 1,000 and 10,000 Webhooks on a real API server, and changes on a real node
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks.operator_scale
	@PYTHONPATH=tests:. $(BIN)/python -m benchmarks.operator_node

.PHONY: kill-matrix
kill-matrix: setup ## Kill a sender at every step, and NATS and the network beside it; writes docs/kill-matrix.md (ARGS=replays: a part)
	@PYTHONPATH=tests $(BIN)/python -m crash $(ARGS)

.PHONY: lock
lock: setup ## Resolve the lock files anew, after a change of dependencies in pyproject.toml
	@# uv itself is pinned in requirements-uv.lock; a new one is put there with its hashes by hand.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-uv.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --python-version 3.11 \
	  --no-annotate --extra operator --extra otel pyproject.toml --output-file requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --python-version 3.11 \
	  --no-annotate --all-extras pyproject.toml --output-file requirements-dev.lock

.PHONY: clean
clean: ## Remove the virtual environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
