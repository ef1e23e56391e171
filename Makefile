# Every target does its own set-up in .venv, from requirements.lock, and does nothing that is already done.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

BIN := .venv/bin
READY := .venv/.installed
SYSTEM := .venv/.system

# Another environment of the caller must not leak into this one, nor a kernel of the same name come before its own.
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV JUPYTER_PATH
export JUPYTER_PREFER_ENV_PATH := 1

# A home that cannot be written to, as some CI has, is no home.
ifeq ($(shell [ -d "$$HOME" ] && [ -w "$$HOME" ] && echo yes),)
export HOME := $(CURDIR)/build/home
endif

# A folder that was moved, or whose Python is gone, is set up anew: its .venv still points to the old place.
$(shell [ -x $(BIN)/python ] && [ "$$(cat .venv/.place 2>/dev/null)" = "$$(pwd -P)" ] || rm -f .venv/.made $(READY))

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14

.PHONY: demo
demo: $(READY) ## Run the quickstart notebook on this machine and print the values that came back
	@$(BIN)/python notebooks/demo.py notebooks/01_quickstart.ipynb build/01_quickstart.ipynb

.PHONY: test
test: lint $(SYSTEM) ## Lint, check types, run every test and every notebook (ARGS= goes to pytest)
	@mkdir -p build
	$(BIN)/python -m pytest tests notebooks --nbval --nbval-current-env --nbval-sanitize-with notebooks/sanitize.cfg $(ARGS)

.PHONY: lint
lint: $(READY) ## Check style, types and the arrows between the modules
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

.PHONY: format
format: $(READY) ## Mend style in place
	@$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: notebooks
notebooks: $(READY) ## Run every notebook anew and keep its outputs
	@export JUPYTER_DATA_DIR="$$PWD/build/notebooks"
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --log-level=ERROR \
		--ExecutePreprocessor.record_timing=False notebooks/*.ipynb

.PHONY: lab
lab: $(READY) ## Open the notebooks in JupyterLab
	@PATH="$$PWD/$(BIN):$$PATH" $(BIN)/jupyter-lab $$([ "$$(id -u)" != 0 ] || echo --allow-root) notebooks

.PHONY: bench
bench: $(READY) ## Measure the budgets against a floor in the same run (ARGS= names benches)
	@$(BIN)/python tests/bench $(ARGS)

.PHONY: lock
lock: $(READY) ## Pin the dependencies of pyproject.toml anew (ARGS=--upgrade takes newer ones)
	@$(uv_settings)
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile pyproject.toml --group dev --universal \
		--python-version 3.11 --generate-hashes --quiet --output-file requirements.lock $(ARGS)

.PHONY: clean
clean: ## Remove everything that was made
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv knows nothing of pip's settings, so a mirror or a certificate that pip was told of is passed on.
define uv_settings
settings=$$("$$(cat .venv/.made)" -m pip config list 2>/dev/null || $(BIN)/python -m pip config list 2>/dev/null || true)
setting() { sed -n "s/^[^=]*\.$$1='\(.*\)'$$/\1/p" <<< "$$settings" | head -n 1; }
value=$$(setting index-url); [ -z "$$value" ] || export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$value}"
value=$$(setting extra-index-url); [ -z "$$value" ] || export UV_INDEX="$${UV_INDEX:-$$value}"
value=$$(setting trusted-host); [ -z "$$value" ] || export UV_INSECURE_HOST="$${UV_INSECURE_HOST:-$$value}"
value=$$(setting cert); [ -z "$$value" ] || export SSL_CERT_FILE="$${SSL_CERT_FILE:-$$value}"
endef

$(READY): requirements.lock pyproject.toml .venv/.made
	@$(uv_settings)
	echo "Installing what requirements.lock names into .venv"
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

# What tests need and PyPI has only in sizes nobody wants: a torch of 150 MB in place of 3 GB. Without it they are skipped.
$(SYSTEM): $(READY)
	@mkdir -p build
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && ! /usr/bin/python3 -c 'import torch' 2>/dev/null; then
		echo "Installing Debian's python3-torch"
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-torch; } \
			> build/apt.log 2>&1 || echo "python3-torch could not be installed; build/apt.log says why" >&2
	fi
	touch $@

# .venv with the uv that the lock pins. Debian takes ensurepip out of Python; then the pip of the base Python does, and as
# root apt brings what is missing. .venv/.made holds the base Python, .venv/.place where the folder stood.
.venv/.made:
	@fail() { echo "$$1" >&2; exit 1; }
	fits() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
	base="$(PYTHON)"
	for name in $$([ -n "$$base" ] || echo python3.14 python3.13 python3.12 python3.11 python3); do
		fits "$$name" && base=$$name && break
	done
	[ -n "$$base" ] || fail "Python 3.11 or newer is needed, and none is on PATH: install one, or name it with 'make PYTHON=/path/to/python3 ...'"
	fits "$$base" || fail "PYTHON=$$base is not a Python 3.11 or newer"
	base=$$("$$base" -c 'import sys; print(sys.executable)')
	mkdir -p build
	sed -n '/^uv==/,/^[^ ]/{/^uv==/p;/^ *--hash/p}' requirements.lock > build/uv.txt
	make_environment() {
		rm -rf .venv
		if "$$base" -c 'from ensurepip import bootstrap' 2>/dev/null; then
			"$$base" -m venv .venv && pip=($(BIN)/python -m pip)
		elif "$$base" -c 'import pip.__main__' 2>/dev/null; then
			"$$base" -m venv --without-pip .venv && pip=("$$base" -m pip --python $(BIN)/python)
		else false; fi
	}
	echo "Making .venv with $$("$$base" -V)"
	if ! make_environment; then
		[ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null ||
			fail "$$base can make no environment: it has neither ensurepip nor pip (on Debian: apt-get install python3-venv)"
		apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-venv
		make_environment || fail "$$base can make no environment, even with Debian's python3-venv: name another with PYTHON="
	fi
	"$${pip[@]}" --disable-pip-version-check install --quiet --no-deps --require-hashes -r build/uv.txt
	pwd -P > .venv/.place
	echo "$$base" > $@
