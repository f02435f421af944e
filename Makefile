# Two commands do everything: `make pipeline` and `make test`. Both first install into .venv.

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
ifndef HOME # in some containers; Prefect, DVC and torch need it
export HOME := $(CURDIR)/.venv/home
endif

.DEFAULT_GOAL := help
.PHONY: help repository install pipeline test test-all test-gpu fuzz kill lint format flow prefect mlflow speedrun clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

repository:
	@command -v git >/dev/null || { echo "make: git not found; install it: DVC needs it" >&2; exit 1; }
	@test -e .git || git rev-parse --git-dir >/dev/null 2>&1 || { echo "no git repository here, DVC needs one: git init"; git init --quiet; }

$(READY): pyproject.toml constraints.txt | repository
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; name a Python of 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

install: $(READY)  ## create .venv and install everything into it

pipeline: $(READY)  ## run the pipeline: data, training, scores, ONNX, registry
	$(BIN)/dvc repro
	@echo "Look at reports/report.html; use it: .venv/bin/srgan upscale photo.jpg -o big.png"

flow: $(READY)  ## run the pipeline as a Prefect flow, one task per stage
	$(BIN)/python -m pipelines.train

prefect: $(READY)  ## start Prefect on http://127.0.0.1:4200: server, worker, schedules
	$(BIN)/python -m pipelines.infra.server

test: $(READY)  ## run the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: $(READY)  ## run all tests, also the slow ones: repeated kills, benchmark sets, real servers, further pipelines
	$(BIN)/python -m pytest -n 2 --dist worksteal -m ''

test-gpu: $(READY)  ## run the tests that need a GPU
	$(BIN)/python -m pytest --gpu -m gpu

fuzz: $(READY)  ## read thousands of damaged files; SHARE=0.1 reads a tenth, SEED=1 other ones
	$(BIN)/python -m tests.fuzz --share $(or $(SHARE),1) --seed $(or $(SEED),0)

kill: $(READY)  ## kill each stage at MOMENTS=20 random moments, run it again and compare the results
	$(BIN)/python -m tests.fuzz.kill --moments $(or $(MOMENTS),20) --seed $(or $(SEED),0)

lint: $(READY)  ## check style, layers and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(READY)  ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

mlflow: $(READY)  ## open the tracking UI on http://127.0.0.1:5000
	@case "$$MLFLOW_TRACKING_URI" in http*) echo "MLFLOW_TRACKING_URI is set: open $$MLFLOW_TRACKING_URI"; exit 1;; esac
	@echo "open http://127.0.0.1:5000/#/experiments/1?workflowType=machine_learning"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow server --host 127.0.0.1 --port 5000 --workers 1 \
		--backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlflow/mlflow.db} --default-artifact-root ./mlflow/artifacts

speedrun: $(READY)  ## train for the time of a track and enter the record: TRACK=cpu-pixel, cpu-gan or gpu
	$(BIN)/srgan speedrun $(or $(TRACK),cpu-pixel)

clean:  ## delete the pipeline's results, but not DVC's cache
	rm -rf data models reports checkpoints dvc_plots
