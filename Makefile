# Two commands matter: `make report` and `make test`. Everything is installed below .venv, nothing outside this folder.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup setup-lab setup-test report studies test lint unit notebooks lab bench clean

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# there while an installation is under way; found at the start of the next one, it tells that the last was cut short
UNFINISHED := $(VENV)/.unfinished
# a Python 3.11 of your own: make setup PYTHON=/path/to/python3.11
PYTHON ?=
CELL_TIMEOUT_S := 900
LAB_OPTIONS := $(if $(filter 0,$(shell id -u)),--allow-root)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' Makefile

setup: $(INSTALLED)-run ## install what the report needs into .venv
setup-lab: $(INSTALLED)-lab
setup-test: $(INSTALLED)-test ## install the extras lab and test as well

# the more complete one stands for the others as well
$(INSTALLED)-run: DONE := $(INSTALLED)-run
$(INSTALLED)-lab: DONE := $(INSTALLED)-run $(INSTALLED)-lab
$(INSTALLED)-test: DONE := $(INSTALLED)-run $(INSTALLED)-lab $(INSTALLED)-test
$(INSTALLED)-run: EXTRAS :=
$(INSTALLED)-lab: EXTRAS := [lab]
$(INSTALLED)-test: EXTRAS := [hub,lab,onnx,slurm,test]
$(INSTALLED)-run $(INSTALLED)-lab $(INSTALLED)-test: pyproject.toml requirements.lock
	@if [ -e $(UNFINISHED) ] || ! $(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	  found=; for python in $(or $(PYTHON),python3.11 python3); do \
	    if "$$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "make setup: Python 3.11 with its venv module is needed; tried $(or $(PYTHON),python3.11 and python3)." >&2; \
	    echo "  Debian 12: apt-get install python3.11 python3.11-venv      elsewhere: make setup PYTHON=/path/to/python3.11" >&2; \
	    exit 1; \
	  fi; \
	  echo "making $(VENV) with $$found"; \
	  "$$found" -m venv --clear $(VENV); \
	fi
	@touch $(UNFINISHED)
# PIP_CONSTRAINT pins the tools that build a source package, too; -c alone does not reach them
	PIP_CONSTRAINT=requirements.lock $(BIN)/python -m pip install --disable-pip-version-check -c requirements.lock -e ".$(EXTRAS)"
	@$(BIN)/python -c 'import av, cv2, dlib'
	@rm $(UNFINISHED)
	@touch $(DONE)

report: setup ## the embedded corpus from nothing to reports/demo/index.html
	$(BIN)/emolib run params/demo.yaml

studies: setup ## every study of the embedded corpus (params/embedded_*.yaml), in one go
	$(BIN)/emolib run params/embedded_*.yaml

test: lint unit notebooks ## ruff, notebooks without outputs, pytest, nbval over all notebooks

lint: setup-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb

# one OpenMP thread: two workers share the cores already
unit: setup-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope -rs --durations 10

# each alone, in a fresh data folder: what it needs upstream it makes itself
notebooks: setup-test
	@for notebook in notebooks/*.ipynb; do \
	  fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && trap 'exit 1' HUP INT TERM && echo "== $$notebook, alone" && \
	  EMOLIB_DATA="$$fresh/data" EMOLIB_REPORTS="$$fresh/reports" $(BIN)/python -m pytest --nbval-lax --nbval-current-env \
	    --nbval-cell-timeout $(CELL_TIMEOUT_S) "$$notebook" || exit 1; \
	  rm -rf "$$fresh"; \
	done

lab: setup-lab ## JupyterLab on the notebooks, at localhost, with its token
	cd notebooks && ../$(BIN)/python -m jupyter lab --ServerApp.ip=127.0.0.1 $(LAB_OPTIONS)

bench: setup ## the measurements, as ratios
	@for benchmark in benchmarks/[a-z]*.py; do echo "== $$benchmark"; $(BIN)/python "$$benchmark" || exit 1; done

clean: ## remove caches and left-overs; .venv, data and reports stay
	rm -rf .pytest_cache .ruff_cache .hypothesis .snakemake build out.ipynb
	find . -path ./$(VENV) -prune -o -path ./data -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -exec rm -rf {} +
