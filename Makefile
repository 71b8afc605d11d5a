# Everything that a checkout needs; `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
# Processes that `make test` spreads its files over.
JOBS ?= 2
# Brokers are started by the hundred: what they import is compiled once, whatever the shell says of it.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup venv engine images demo test check conformance drill bench protos bundle lock clean \
	check-style check-types check-imports check-protos check-rego check-bundle tools

help: ## List what there is
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: venv engine images ## Make this checkout ready: .venv, Docker Engine, tool images
	@echo "setup: ready"

venv:
	@echo "setup: virtual environment"
	@scripts/setup-venv.sh

engine: venv
	@echo "setup: Docker Engine"
	@PYTHON=$(BIN)/python scripts/setup-docker.sh

images: venv engine
	@echo "setup: tool images"
	@$(BIN)/toolwarrant tools build >/dev/null

demo: setup ## Show a broker at work, from a fresh start to a verified receipt
	@$(BIN)/python scripts/demo.py

tools: # what the tests need besides: from PATH, else the cache, the Go module proxy or apt
	@echo "test: opa, grpcurl, PostgreSQL, SoftHSM"
	@scripts/tool.sh opa >/dev/null
	@scripts/tool.sh grpcurl >/dev/null
	@scripts/setup-postgres.sh
	@scripts/setup-softhsm.sh

test: setup tools ## Run every test, with real containers and a real OPA
	@opa="$$(scripts/tool.sh opa)"; grpcurl="$$(scripts/tool.sh grpcurl)"; \
	PATH="$$(dirname "$$opa"):$$(dirname "$$grpcurl"):$$PATH" $(BIN)/pytest tests -q -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=30 --durations-min=5

check: venv check-style check-types check-imports check-protos check-rego check-bundle ## Format, lint, types, import contracts, protos, Rego, generated files
	@echo "check: green"

check-style: venv
	@echo "check: format, lint"
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .

check-types: venv
	@echo "check: types"
	@$(BIN)/mypy --no-error-summary

check-imports: venv
	@echo "check: import contracts"
	@said="$$($(BIN)/lint-imports --no-logo)" || { echo "$$said"; exit 1; }

check-protos: venv
	@echo "check: protos"
	@$(BIN)/python scripts/gen_protos.py --check
	@$(BIN)/buf lint

check-rego: venv
	@echo "check: Rego"
	@scripts/check-rego.sh

check-bundle: venv
	@echo "check: compiled policy bundle"
	@opa="$$(scripts/tool.sh opa)"; PATH="$$(dirname "$$opa"):$$PATH" $(BIN)/python scripts/build_policy.py --check

conformance: setup tools ## Hold our receipts, engines, sandboxes and long guides against third parties
	@echo "conformance: runsc, logcheck, litewitness, cosign, spicy"
	@for tool in runsc logcheck litewitness cosign spicy; do scripts/tool.sh "$$tool" >/dev/null; done
	@$(BIN)/pytest conformance -q

drill: setup tools ## Long runs: kill loops, a thousand mixed calls, the pool, simulation; SEED=n repeats one
	@$(BIN)/pytest drill -q

bench: setup ## Measure; BENCH="NAME ..." for some, BENCH=gvisor for what needs an Engine with runsc
	@$(BIN)/python -m bench $(BENCH)

protos: venv ## Generate broker/v1 from protos/
	@$(BIN)/python scripts/gen_protos.py

bundle: venv ## Compile the default policy bundle into the package
	@opa="$$(scripts/tool.sh opa)"; PATH="$$(dirname "$$opa"):$$PATH" $(BIN)/python scripts/build_policy.py

lock: venv ## Resolve pyproject.toml into the two lock files (LOCK_ARGS=--upgrade for newer versions)
	@scripts/lock.sh $(LOCK_ARGS)

clean: ## Remove what was made in this checkout; the tool cache and the images stay
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
