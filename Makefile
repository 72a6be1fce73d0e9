# featmill's only task runner. Needs make and Python 3.11 with pip and venv; the first target you call brings the rest.
#
#   make            list the targets
#   make demo       the whole chain on the sample data
#   make test       the tests; ARGS="-k name" passes anything to pytest

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
FEATMILL := $(BIN)/featmill
SYNCED := $(VENV)/.synced
# The tests' processes. Two fit the smallest machine we support.
WORKERS ?= 2
# Passed to pytest, or to a benchmark.
ARGS ?=
# Which benchmarks, all if empty; and on how much data: s, m or l.
BENCH ?=
SIZE ?= s
# What sqlfluff reads.
SQL := $(wildcard models tests/dbt)
UPSTREAM := --select +path:models/features --exclude path:models/features
# The interpreter to build on; found if not given.
PYTHON311 ?=

# Bytecode is compiled once, at setup: otherwise every start of dbt, Feast or Airflow compiles itself anew.
unexport PYTHONDONTWRITEBYTECODE
export UV_COMPILE_BYTECODE := 1
# Only the environment of this clone, whatever is active in the caller's shell.
unexport VIRTUAL_ENV
unexport PYTHONHOME
export UV_PROJECT_ENVIRONMENT := $(VENV)
# No telemetry, from anyone.
export DO_NOT_TRACK := 1
export DBT_SEND_ANONYMOUS_USAGE_STATS := False
export FEAST_USAGE := False
export GX_ANALYTICS_ENABLED := False
export SCARF_ANALYTICS := false
export AIRFLOW__USAGE_DATA_COLLECTION__ENABLED := False

# Prints the path of a Python 3.11 that can make environments, or says what is missing.
define FIND_PYTHON
find_python() { \
	check='import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))'; \
	for candidate in "$(PYTHON311)" python3 python3.11 python; do \
		[ -n "$$candidate" ] && "$$candidate" -c "$$check" >/dev/null 2>&1 || continue; \
		"$$candidate" -c 'import sys; print(sys.executable)'; \
		return 0; \
	done; \
	echo 'featmill needs Python 3.11 with pip and venv; none of python3, python3.11, python is one.' >&2; \
	echo 'Install it (Debian, Ubuntu: python3.11 and python3.11-venv) or name it:' >&2; \
	echo '    make setup PYTHON311=/path/to/python3.11' >&2; \
	return 1; \
}
endef

# Prints the uv to use: the one on PATH if it runs, else our own under .tools/.
define FIND_UV
find_uv() { \
	if uv --version >/dev/null 2>&1; then echo uv; return 0; fi; \
	if ! .tools/uv-$(UV_VERSION)/bin/uv --version >/dev/null 2>&1; then \
		echo 'No uv on PATH: installing uv $(UV_VERSION) into .tools/' >&2; \
		"$$1" -m venv --clear .tools/uv-$(UV_VERSION) >&2 || return 1; \
		.tools/uv-$(UV_VERSION)/bin/python -m pip install --quiet --disable-pip-version-check \
			uv==$(UV_VERSION) >&2 || return 1; \
	fi; \
	echo .tools/uv-$(UV_VERSION)/bin/uv; \
}
endef

# Runs each command of the environment, all of them even if one fails.
each = status=0; for command in $(1); do \
	echo "== $$command"; $(BIN)/$$command || status=1; \
done; exit $$status

##@ Use

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z][a-z-]*:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: $(SYNCED) ## Create .venv from uv.lock; instant when nothing changed
	@:

$(SYNCED): uv.lock pyproject.toml
	@$(FIND_PYTHON); $(FIND_UV); \
	python=$$(find_python) && uv=$$(find_uv "$$python") && \
	UV_PYTHON_DOWNLOADS=never "$$uv" sync --quiet --frozen --all-extras --all-groups --no-group spark --python "$$python"
	@touch $@

.PHONY: demo
demo: setup ## Run the whole chain on the sample data
	@$(FEATMILL) demo

.PHONY: docs
docs: setup ## Build the dbt project, then write its documentation site as one file
	@$(BIN)/dbt --quiet build && $(BIN)/dbt --quiet docs generate --static
	@echo "open target/static_index.html"

.PHONY: example-retail
example-retail: setup ## Run the chain on 541,909 real invoice lines, through an outside dbt project
	@$(PYTHON) -m examples.online_retail.run

.PHONY: reference
reference: setup ## Write docs/reference from the code
	@$(PYTHON) docs/generate.py

##@ Develop

.PHONY: test
test: setup ## Run the tests; ARGS="-k name" selects
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup $(ARGS)

.PHONY: coverage
coverage: setup ## Run the tests and report branch coverage
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup --cov --cov-report term $(ARGS)

.PHONY: lint
lint: lint-python lint-dbt ## Check style, types, layers and the dbt project

.PHONY: lint-python
lint-python: setup ## Check Python only: ruff, import-linter, mypy
	@$(call each,'ruff check --quiet' 'ruff format --check --quiet' 'lint-imports --no-logo' 'mypy')

# Models look at the columns of what they read, so sqlfluff needs those tables: built empty, in a home of their own.
.PHONY: lint-dbt
lint-dbt: export FEATMILL_HOME := target/lint
lint-dbt: export COLUMNS := 160
lint-dbt: setup ## Check the dbt project only: dbt-bouncer, sqlfluff
	@$(call each,'dbt --quiet parse' 'dbt-bouncer run --show-all-failures' \
		'dbt --quiet run --empty $(UPSTREAM)' 'sqlfluff lint --disable-progress-bar $(SQL)')

.PHONY: format
format: export FEATMILL_HOME := target/lint
format: setup ## Rewrite Python and SQL in the house style
	@$(BIN)/ruff check --fix --quiet; $(BIN)/ruff format --quiet
	@$(BIN)/dbt --quiet run --empty $(UPSTREAM)
	@$(BIN)/sqlfluff fix --disable-progress-bar --quiet $(SQL)

.PHONY: bench
bench: setup ## Run the benchmarks; SIZE=s|m|l, BENCH="name" selects
	@$(PYTHON) -m benchmarks --size $(SIZE) $(BENCH)

# Spark is 400 MB and wants Java 17: only this target brings it.
.PHONY: bench-spark
bench-spark: setup ## Run the point-in-time benchmark with Spark beside it; SIZE=s|m|l
	@$(FIND_PYTHON); $(FIND_UV); \
	python=$$(find_python) && uv=$$(find_uv "$$python") && \
	UV_PYTHON_DOWNLOADS=never "$$uv" sync --quiet --frozen --all-extras --all-groups --python "$$python"
	@$(PYTHON) -m benchmarks.point_in_time --size $(SIZE) --spark

.PHONY: clean
clean: ## Remove what a run writes: target, .featmill, logs, caches
	@rm -rf target logs dbt_packages .featmill dist
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.*

.PHONY: distclean
distclean: clean ## Remove that and what setup writes: .venv, .tools
	@rm -rf $(VENV) .tools
