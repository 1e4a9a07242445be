# `make demo` and `make test` do all their own set-up in .venv; nothing else on the machine is touched.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# The benchmarks of editor.bench.command.
BENCHMARKS := edit ledger overlay sae trace validate
DOCS := build/docs/bin
DOCS_READY := build/docs/.ready

.PHONY: demo test check format docs reference kill fuzz schemathesis load scaleout bench peers clean

demo: $(READY)  ## start the stack, remove an object and a style over HTTP, print the verdicts, stop
	@$(BIN)/python deploy/demo.py

test: check  ## everything that must hold
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY)  ## style, types and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY)  ## put the code into the house's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DOCS_READY)  ## build the documentation into build/site, with an environment of its own
	NO_MKDOCS_2_WARNING=1 $(DOCS)/mkdocs build --strict

reference: $(READY)  ## write the generated reference pages and schemas anew from the code
	$(BIN)/python -m deploy.reference
	$(BIN)/python -m api_schemas.json_schemas docs/schemas

kill: $(READY)  ## every process killed and stopped at every place, on each store: about two hours
	$(BIN)/python -m tests.kill.matrix --store sqlite
	$(BIN)/python -m tests.kill.matrix --store postgres
	$(BIN)/python -m tests.kill.matrix --store s3

fuzz: $(READY)  ## ten thousand spoilt safetensors files, from registration to the first read
	$(BIN)/python -m tests.fuzz.safetensors

schemathesis: $(READY)  ## thousands of requests made up from the contract, all checks on each reply
	$(BIN)/python -m tests.contract.fuzz --examples 60

load: $(READY)  ## a hundred clients at ours and at a plain FastAPI and Celery app, then twenty thousand jobs: wants quiet cores
	$(BIN)/python -m tests.load --jobs 20000

scaleout: $(READY)  ## one and four workers, two APIs, PostgreSQL, a bucket; then each part restarted under load: wants quiet cores
	$(BIN)/python -m tests.scaleout
	$(BIN)/python -m tests.scaleout --workers 2 --restart

bench: $(READY)  ## every benchmark, a JSON object each
	@for name in $(BENCHMARKS); do $(BIN)/expunge bench $$name --json || exit 1; done

# Overcomplete's root package wants vision models that its autoencoders don't: those are not in the list.
peers:  ## an environment with other tools' autoencoders, for `expunge bench sae` and the tests of exchange
	$(PYTHON) -m venv build/peers
	build/peers/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	build/peers/bin/pip install --quiet --disable-pip-version-check --no-deps -r constraints-peers.txt
	@echo "export EXPUNGE_PEERS_PYTHON=$(CURDIR)/build/peers/bin/python"

clean:  ## forget the environment, the caches and the demo's data
	rm -rf .venv .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist

# Made again only when what is to be installed changes.
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
