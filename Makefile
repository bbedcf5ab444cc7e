# Every target sets up .venv by itself; nothing needs to be activated.

CORES ?= $(shell nproc)
VENV := .venv/.installed

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

.PHONY: help install demo test test-cluster bench goldens docs lint format

help:
	@echo "make install   set up .venv"
	@echo "make demo      run the demo campaign (CORES=$(CORES))"
	@echo "make test      everything: style, layers, all tests"
	@echo "make test-cluster  campaigns and faults on a real Slurm of its own (root, Debian or Ubuntu)"
	@echo "make bench     time everything beside mace-torch and symmetrix-xl (15 min; makes .peer-venv)"
	@echo "make goldens   compute tests/goldens anew with the real mace-torch"
	@echo "make docs      the pages of docs/ and the API as HTML, in docs/_build"
	@echo "make lint      style and layers only"
	@echo "make format    format the code"

install: $(VENV)

$(VENV): pyproject.toml setup.py constraints.txt scripts/setup.sh $(wildcard mace_core/native/*.cpp mace_core/native/*.h)
	@scripts/setup.sh

demo: $(VENV)
	snakemake --cores $(CORES)

# Engines that cannot be installed here are said; their tests are skipped, with the reason. Debian's packages come
# while pip installs ours.
test:
	@scripts/engines.sh espresso cp2k nwchem chromium & $(MAKE) lint; code=$$?; wait; exit $$code
	-@scripts/engines.sh gpaw
	OMP_NUM_THREADS=1 pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not cluster and not long"
	$(MAKE) test-cluster

test-cluster: $(VENV)
	OMP_NUM_THREADS=1 pytest -n 5 --dist loadfile -p no:hypothesispytest tests/cluster # they wait more than they compute

bench: $(VENV)
	OMP_NUM_THREADS=1 python benchmarks/bench.py

goldens: $(VENV)
	scripts/goldens/make.sh

docs: $(VENV)
	sphinx-build -q -W --keep-going -b html docs docs/_build
	@echo "docs/_build/index.html"

lint: $(VENV)
	ruff check
	ruff format --check
	snakefmt --check --compact-diff Snakefile workflow
	lint-imports

format: $(VENV)
	ruff check --fix
	ruff format
	snakefmt Snakefile workflow
