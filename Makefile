# What a first user and a developer run. `make help` lists the targets.
# Everything is installed into $(VENV) from constraints.txt, which pins versions and hashes.

PYTHON ?= $(or $(shell for p in python3.11 python3.13 python3.12; do \
	$$p -c '' 2>/dev/null && { echo $$p; break; }; done),python3.11)
VENV ?= .venv
# More arguments for pytest, as in: make test PYTEST="-x tests/unit/test_store.py"
PYTEST ?=
# What is installed: everything, or what an agent needs.
CONSTRAINTS ?= constraints.txt

BIN := $(VENV)/bin
STAMP := $(VENV)/.gossamer-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
COMPILE := build/uv/bin/uv --quiet pip compile pyproject.toml --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --upgrade

.DELETE_ON_ERROR:
.PHONY: models nights small-device help install device demo test check acceptance bench robustness learning sybils crash fuzz-api interop arm64 \
	constraints clean

help:
	@echo 'make install      make $(VENV) and install gossamer into it'
	@echo 'make device       the same without what only developers need, for a Raspberry Pi'
	@echo 'make demo         simulate 50 peers, 20 % of them liars; writes report.html'
	@echo 'make test         run the tests'
	@echo 'make check        run the linters and the type checker'
	@echo 'make acceptance   measure what the program promises; takes ten minutes'
	@echo 'make bench        run the benchmarks; writes docs/benchmarks.md'
	@echo 'make robustness   every merge rule under every attack; writes docs/robustness.md; hours'
	@echo 'make learning     what joining is worth, and the learning options; ten minutes'
	@echo 'make sybils       40 Sybils against 10 honest peers, 200 seeds: their share of votes'
	@echo 'make fuzz-api     100,000 malformed requests to the local API: each must get 4xx; minutes'
	@echo 'make crash        power cuts, failing calls, flipped bits, kills; ten minutes (needs strace)'
	@echo 'make nights       thirty days with nights, outages and heat, simulated; ten minutes'
	@echo 'make small-device an agent in 400 MB and half a core for half an hour (root for the limits)'
	@echo 'make models       every shipped model in a swarm of 20 and in numpy; ten minutes'
	@echo 'make interop      let a js-libp2p node meet an agent (needs node and npm)'
	@echo 'make arm64        run on emulated 64-bit ARM; half an hour (needs root, debootstrap, qemu)'
	@echo 'make constraints  pin the newest dependencies (needs the network)'
	@echo 'make clean        remove what was generated, but not $(VENV)'

install: $(STAMP)

device:
	@$(MAKE) --no-print-directory install CONSTRAINTS=constraints-device.txt

demo: install
	$(BIN)/gossamer simulate --peers 50 --byzantine 0.2 --attack mix --data digits --seed 7 \
		--baselines --report report.html

test: install
	$(BIN)/python -m pytest $(PYTEST)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

acceptance: install
	$(BIN)/python scripts/acceptance.py

bench: install
	$(BIN)/python scripts/make_benchmarks_doc.py

fuzz-api: install
	$(BIN)/python scripts/fuzz_api.py

sybils: install
	$(BIN)/python scripts/sybil_campaign.py

crash: install
	$(BIN)/python scripts/crash_campaign.py

robustness: install
	$(BIN)/python -m scripts.robustness

learning: install
	$(BIN)/python scripts/learning_study.py --seeds 3

nights: install
	$(BIN)/python scripts/nights.py

small-device: install
	$(BIN)/python scripts/cgroup_run.py

models: install
	$(BIN)/python scripts/model_parity.py $(if $(DATA),--data $(DATA))

interop: install
	mkdir -p build/interop && cp tests/swarm/js/package.json build/interop
	cd build/interop && npm install --no-audit --no-fund --ignore-scripts
	$(BIN)/python -m pytest tests/swarm/test_js_libp2p.py

arm64:
	PYTHON=$(PYTHON) scripts/arm64.sh

constraints:
	test -x build/uv/bin/uv || { $(PYTHON) -m venv build/uv && build/uv/bin/pip install --quiet uv; }
	$(COMPILE) --extra sim --extra dev --output-file constraints.txt
	$(COMPILE) --extra authoring --constraints constraints.txt \
		--output-file constraints-authoring.txt
	echo 'setuptools>=77' | $(COMPILE) - --constraints constraints.txt \
		--output-file constraints-device.txt

clean:
	rm -rf build dist *.egg-info report.html report.json
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c '' 2>/dev/null || { echo '$(PYTHON) is missing.' \
		'Install it (Debian: sudo apt install python3 python3-venv)' \
		'or name another: make PYTHON=python3.13' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo '$(PYTHON) is not Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.11' >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) has no venv module. Debian: sudo apt install python3-venv' >&2; exit 1; }
	@test -x $(BIN)/python || { \
		echo 'Making $(VENV); the packages are fetched once and need a minute.'; \
		$(PYTHON) -m venv $(VENV); }
	@$(PIP) install --require-hashes --requirement $(CONSTRAINTS) || { \
		echo 'If a package had to be compiled:' \
		'sudo apt install build-essential python3-dev libgmp-dev' >&2; exit 1; }
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
