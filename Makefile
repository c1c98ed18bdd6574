# Everything runs in the virtual environment .venv, which is made when it is missing or older than the pinned lists.
# PYTHON, of 3.11, 3.12 or 3.13, makes it; to change it, remove .venv.
PYTHON ?= python3
IMAGES ?= 8000
PORT ?= 8000
UI_PORT ?= 8501
MLFLOW_PORT ?= 5000

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY ?= true
export ORT_DISABLE_TELEMETRY ?= 1
export DVC_NO_ANALYTICS ?= true

# Not /bin/sh: make 3.81, which is macOS's, would look up simple commands in the PATH that it was started with.
SHELL := /bin/bash
PIP := python -m pip install --quiet --disable-pip-version-check
LOCK := uv pip compile --universal --fork-strategy fewest --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --quiet $(UPGRADE)

PYTEST := python -m pytest -n 2 --dist loadfile --no-loadscope-reorder # in the order of testpaths, the longest first

.DEFAULT_GOAL := help
.PHONY: help reproduce test test-fast test-all test-pythons lint lock serve bundle ui mlflow nih sweep add-batch rollback \
	promote benchmark fuzz clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST) | sort

reproduce: .venv/installed ## make the environment, run the pipeline, show the metrics, compare with the commit
	dvc repro
	@chestxray summary
	@echo
	@chestxray compare

test: .venv/installed-tests ## the test suite, without what takes minutes and changes rarely
	$(PYTEST) -m "not heavy"

test-fast: .venv/installed-tests ## the tests that take seconds
	python -m pytest -m "not slow"

test-all: .venv/installed-tests ## the whole test suite
	$(PYTEST)

test-pythons: test-python3.11 test-python3.12 test-python3.13 ## the fast tests on each Python that is found, freshly installed

test-python%:
	@for python in python$* ~/.pyenv/versions/$*.*/bin/python3; do \
		"$$python" -c "import ensurepip" 2>/dev/null && break; python=; \
	done; \
	if test -z "$$python"; then echo "Python $*: skipped, there is none that can make an environment"; exit; fi; \
	set -e; environment=$$(mktemp -d); trap 'rm -rf "$$environment"' EXIT; \
	"$$python" -m venv "$$environment"; export PATH="$$environment/bin:$$PATH"; echo "Python $*: $$(python --version)"; \
	$(PIP) -r requirements.txt; $(PIP) -r tests/requirements.txt; $(PIP) --no-deps --no-build-isolation -e .; \
	python -m pytest -m "not slow"

lint: .venv/installed-tests ## ruff, mypy --strict and the walls between the packages
	ruff check .
	ruff format --check .
	mypy
	lint-imports

lock: .venv/installed-tests ## pin what pyproject.toml asks for; UPGRADE=--upgrade takes the newest
	$(LOCK) pyproject.toml --extra train --group serve --group ui --group build -o requirements.txt
	$(LOCK) pyproject.toml --extra s3 -c requirements.txt -o .dvc/requirements-s3.txt
	$(LOCK) --group pyproject.toml:mlflow-server -c requirements.txt -c .dvc/requirements-s3.txt -o serve/requirements-mlflow.txt
	$(LOCK) --group pyproject.toml:test -c requirements.txt -c .dvc/requirements-s3.txt -o tests/requirements.txt
	$(LOCK) pyproject.toml --group serve -c requirements.txt -o serve/requirements.txt
	$(LOCK) --group pyproject.toml:ui -c requirements.txt -o serve/requirements-ui.txt
	$(LOCK) --group pyproject.toml:torch -c requirements.txt -o benchmarks/requirements.txt

# What runs until it is stopped takes the shell's place: a signal to make then reaches it.
serve: .venv/installed ## the service on http://127.0.0.1:8000 (PORT)
	@PORT=$(PORT) exec python -m serve

bundle: .venv/installed ## bring the champion's bundle into models/champion, for serve/Dockerfile
	chestxray fetch-bundle models:/chest-xray@champion models/champion

ui: .venv/installed ## the page on http://127.0.0.1:8501 (UI_PORT), beside `make serve` (with its PORT)
	@SERVICE_URL=$${SERVICE_URL:-http://127.0.0.1:$(PORT)} exec python -m streamlit run serve/ui.py \
		--server.address 127.0.0.1 --server.port $(UI_PORT)

mlflow: .venv/installed ## the MLflow UI on http://127.0.0.1:5000 (MLFLOW_PORT)
	@exec chestxray mlflow --port $(MLFLOW_PORT)

nih: .venv/installed ## bring NIH ChestX-ray14 into data/raw/nih (IMAGES=8000, or all)
	chestxray nih --images $(IMAGES) --root data/raw/nih

sweep: .venv/installed ## train 50 heads and 8 fine-tunings on the features of the last dvc repro, propose the best
	chestxray sweep

add-batch: .venv/installed ## check a new batch and list it: NAME=b2 ROOT=path [WARM_START=@champion|3|none]
	@test -n "$(NAME)" -a -n "$(ROOT)" || { echo "usage: make add-batch NAME=b2 ROOT=path"; exit 2; }
	@chestxray add-batch "$(NAME)" "$(ROOT)" $(if $(WARM_START),--warm-start "$(WARM_START)")

rollback: .venv/installed ## give the champion's place back to the version before
	@chestxray rollback

promote: .venv/installed ## make a version the champion by hand: VERSION=2
	@test -n "$(VERSION)" || { echo "usage: make promote VERSION=2"; exit 2; }
	@chestxray promote "$(VERSION)"

benchmark: .venv/installed ## ours against the plain way, side by side (about 10 minutes)
	python -m benchmarks.training

fuzz: .venv/installed-tests ## 100,000 mutated files into the decoder (about 5 minutes)
	python -m benchmarks.fuzz --inputs 100000 --seed 0

clean: ## remove the environment, the MLflow store, prepared data and models; raw data, reports and the DVC cache stay
	rm -rf .venv .mlflow .cache data/decoded/* data/prepared/* data/splits/* data/features/* \
		data/*.json models/bundle/* models/champion models/start models/*.h5 \
		models/*.parquet

.venv/installed: requirements.txt
	@$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" || { \
		echo "Python 3.11, 3.12 or 3.13 is needed, $$($(PYTHON) --version 2>&1) was found: make PYTHON=/path/to/python …"; \
		exit 1; }
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || { \
		version=$$($(PYTHON) -c "import sys; print('python%d.%d' % sys.version_info[:2])"); \
		echo "$(PYTHON) can't make environments. On Debian or Ubuntu: apt-get install python3-venv, or $$version-venv"; \
		exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

.venv/installed-tests: .venv/installed tests/requirements.txt
	$(PIP) -r tests/requirements.txt
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get && apt-get update && \
		apt-get install -y --no-install-recommends chromium; } >/dev/null 2>&1 || \
		echo "No chromium could be installed: the test of the page in a browser will be skipped."
	touch $@
