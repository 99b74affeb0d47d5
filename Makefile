# Every target does its own set-up; all it needs is Python 3.11 and make.
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin/
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder # by the groups of tests/conftest.py

.PHONY: setup demo cluster image check test lint soak bench judges

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(RUN)python || $(PYTHON) -m venv $(VENV)
	$(RUN)python -m pip install --quiet --upgrade pip
	$(RUN)python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup
	$(RUN)visage demo

# A Ray of three nodes, MLflow, PostgreSQL and an object store on this machine, until Ctrl-C. JOB_PORT, MLFLOW_PORT: others.
cluster: setup
	PYTHONPATH=.:platform $(RUN)python k8s/one_machine.py --job-port $(or $(JOB_PORT),8265) --mlflow-port $(or $(MLFLOW_PORT),5000)

# The image of the pods, by docker or podman: `make image TARGETS=gpu`, and BASE=debian where no registry is reached.
image:
	PYTHONPATH=.:platform $(PYTHON) k8s/image.py $(TARGETS) $(if $(BASE),--base $(BASE))

# After every edit: what needs no server, no browser, no GPU and no more than a second or two.
check: lint
	$(RUN)pytest -q $(SIDE_BY_SIDE) -m "not (slow or ray or serve or browser or gpu or soak)"

test: lint
	$(RUN)pytest $(SIDE_BY_SIDE) -m "not soak"

lint: setup
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy
	$(RUN)lint-imports

soak: setup
	$(RUN)pytest -m soak

# The judges from outside (docs/judging.md), by npm, from the registry that its configuration names.
judges:
	mkdir -p runs/judges
	npm pack @vladmandic/face-api@1.7.15 --pack-destination runs/judges

bench: setup
	$(RUN)python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	$(RUN)python benchmarks/synthetic_faces.py
	$(RUN)python benchmarks/prepare.py
	$(RUN)python benchmarks/training.py
	$(RUN)python benchmarks/step.py
	$(RUN)python benchmarks/trials.py
	$(RUN)python benchmarks/tracking.py
	$(RUN)python benchmarks/serving.py
	$(RUN)python benchmarks/swap.py
