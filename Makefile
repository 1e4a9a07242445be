# `make demo` and `make test` install everything they need into .venv and change nothing else on the machine.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# The benchmarks of editor.bench.command.
BENCHMARKS := edit generate ledger overlay sae trace validate job
DOCS := build/docs/bin
DOCS_READY := build/docs/.ready
GENERATORS_READY := build/generators/.ready

.PHONY: demo test check format docs reference kill fuzz schemathesis generators load scaleout bench gpu peers clean

demo: $(READY)  ## start the stack, remove an object and a style over HTTP, print the verdicts, stop
	@$(BIN)/python deploy/demo.py

# Bytecode is written even if the environment forbids it: tests start hundreds of processes.
test: check  ## run all checks and tests
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(READY)  ## check style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY)  ## format the code and fix lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DOCS_READY)  ## build the documentation into build/site, in a separate environment
	NO_MKDOCS_2_WARNING=1 $(DOCS)/mkdocs build --strict

reference: $(READY)  ## regenerate the reference pages and schemas from the code
	$(BIN)/python -m deploy.reference
	$(BIN)/python -m api_schemas.json_schemas docs/schemas

kill: $(READY)  ## kill and stop every process at every point, on each store: about two hours
	$(BIN)/python -m tests.kill.matrix --store sqlite
	$(BIN)/python -m tests.kill.matrix --store postgres
	$(BIN)/python -m tests.kill.matrix --store s3
	$(BIN)/python -m tests.kill.fleets --store sqlite
	$(BIN)/python -m tests.kill.fleets --store postgres

fuzz: $(READY)  ## ten thousand corrupted safetensors files, from registration to the first read
	$(BIN)/python -m tests.fuzz.safetensors

schemathesis: $(READY)  ## send thousands of requests generated from the contract and run all checks on each response
	$(BIN)/python -m tests.contract.fuzz --examples 60

generators: $(READY) $(GENERATORS_READY)  ## generate clients with three generators and use them against a running service
	$(BIN)/python -m tests.contract.generators

load: $(READY)  ## compare with a plain FastAPI and Celery app under a hundred clients, then run twenty thousand jobs: needs idle cores
	$(BIN)/python -m tests.load --jobs 20000

scaleout: $(READY)  ## one and four workers, two APIs, PostgreSQL, a bucket; then restart each component under load: needs idle cores
	$(BIN)/python -m tests.scaleout
	$(BIN)/python -m tests.scaleout --workers 2 --restart

bench: $(READY)  ## run every benchmark and print one JSON object each
	@for name in $(BENCHMARKS); do $(BIN)/expunge bench $$name --json || exit 1; done

gpu: $(READY)  ## on a machine with a GPU: generation and whole jobs at the geometry of SD 1.5, SDXL and FLUX.1, with figures
	$(BIN)/python -m pytest -m gpu -s tests/gpu

# Overcomplete depends on vision packages that its SAEs do not need; constraints-peers.txt omits them.
peers:  ## build an environment with other SAE libraries, for `expunge bench sae` and the interoperability tests
	$(PYTHON) -m venv build/peers
	build/peers/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	build/peers/bin/pip install --quiet --disable-pip-version-check --no-deps -r constraints-peers.txt
	@echo "export EXPUNGE_PEERS_PYTHON=$(CURDIR)/build/peers/bin/python"

clean:  ## delete the environment, the caches and the demo's data
	rm -rf .venv .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist

# Rebuilt only when the requirements change.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || deploy/debian-packages.sh python3-venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,train,dev]'
	@touch $@

$(DOCS_READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || deploy/debian-packages.sh python3-venv
	$(PYTHON) -m venv build/docs
	$(DOCS)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

$(GENERATORS_READY): constraints-generators.txt
	$(PYTHON) -m venv build/generators
	build/generators/bin/pip install --quiet --disable-pip-version-check --no-deps -r constraints-generators.txt
	@touch $@
