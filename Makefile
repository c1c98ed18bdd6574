# Everything runs in the virtual environment .venv, which is made when it is missing or older than the pinned lists.
PYTHON ?= python3
IMAGES ?= 8000
PORT ?= 8000

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export TF_CPP_MIN_LOG_LEVEL ?= 2
export MLFLOW_DISABLE_TELEMETRY ?= true
export ORT_DISABLE_TELEMETRY ?= 1
export DVC_NO_ANALYTICS ?= true

.DEFAULT_GOAL := help
.PHONY: help reproduce test test-fast lint lock serve bundle ui mlflow nih add-batch rollback benchmark fuzz clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:[^#]*## /\t/' | expand -t 14

reproduce: .venv/installed ## make the environment, run the pipeline, show the metrics
	dvc repro
	@python -m chestxray summary

test: .venv/installed-tests ## the whole test suite
	python -m pytest -n 2 --dist loadfile

test-fast: .venv/installed-tests ## the tests that take seconds
	python -m pytest -m "not slow"

lint: .venv/installed-tests ## ruff, mypy --strict and the walls between the packages
	ruff check .
	ruff format --check .
	mypy
	lint-imports

lock: .venv/installed-tests ## pin the newest versions that pyproject.toml allows
	uv pip compile pyproject.toml --upgrade --generate-hashes --no-header --no-emit-index-url -q -o requirements.txt
	uv pip compile --group pyproject.toml:test --upgrade --generate-hashes --no-header --no-emit-index-url -q \
		-c requirements.txt -o tests/requirements.txt
	for part in serve ui; do \
		uv pip compile --group pyproject.toml:$$part --upgrade --generate-hashes --no-header --no-emit-index-url -q \
			-c requirements.txt -o serve/requirements-$$part.txt; \
	done
	mv serve/requirements-serve.txt serve/requirements.txt

serve: .venv/installed ## the service on http://127.0.0.1:8000
	PORT=$(PORT) python -m serve

bundle: .venv/installed ## bring the champion's bundle into models/champion, for serve/Dockerfile
	python -m chestxray fetch-bundle models:/chest-xray@champion models/champion

ui: .venv/installed ## the page on http://127.0.0.1:8501, beside `make serve`
	SERVICE_URL=$${SERVICE_URL:-http://127.0.0.1:$(PORT)} python -m streamlit run serve/ui.py \
		--server.address 127.0.0.1 --server.port 8501

mlflow: .venv/installed ## the MLflow UI on http://127.0.0.1:5000
	mlflow ui --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///.mlflow/mlflow.db} --host 127.0.0.1 --port 5000

nih: .venv/installed ## bring NIH ChestX-ray14 into data/raw/nih (IMAGES=8000, or all)
	python -m chestxray nih --images $(IMAGES) --root data/raw/nih

add-batch: .venv/installed ## check a new batch and list it: NAME=b2 ROOT=path [WARM_START=@champion|3|none]
	@test -n "$(NAME)" -a -n "$(ROOT)" || { echo "usage: make add-batch NAME=b2 ROOT=path"; exit 2; }
	@python -m chestxray add-batch "$(NAME)" "$(ROOT)" $(if $(WARM_START),--warm-start "$(WARM_START)")

rollback: .venv/installed ## give the champion's place back to the version before
	@python -m chestxray rollback

benchmark: .venv/installed ## ours against the plain way, side by side (about 10 minutes)
	python -m benchmarks.training

fuzz: .venv/installed-tests ## 100,000 mutated files into the decoder (about 3 minutes)
	python -m benchmarks.fuzz --inputs 100000 --seed 0

clean: ## remove the environment, the MLflow store and every output; raw data and the DVC cache stay
	rm -rf .venv .mlflow .cache data/prepared data/features models/bundle models/champion models/start models/*.h5

.venv/installed: requirements.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))" || \
		{ echo "Python 3.11 is needed, $$($(PYTHON) --version 2>&1) was found: make PYTHON=/path/to/python3.11 …"; exit 1; }
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-tests: .venv/installed tests/requirements.txt
	python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get && apt-get update && \
		apt-get install -y --no-install-recommends chromium; } >/dev/null 2>&1 || \
		echo "No chromium could be installed: the test of the page in a browser will be skipped."
	touch $@
