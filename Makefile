# `make run` starts the site on a fresh clone; `make test` runs every test. Both need only Python 3.11 or newer.

PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
# Tests wait for timers, sockets and other processes: four processes, one of them for the browser, keep two cores busy.
WORKERS ?= 4
# The Pythons that the lock is for; pyproject.toml and tests/chatsite/test_lock_for_every_python.py say the same.
OLDEST := 3.11.0
NEWEST := 3.14.0
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

# Bytecode is kept whatever the shell says: the site starts in 1.4 s of CPU with it and in 3.4 s without, and the tests
# start it some hundred times.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup run test test-postgres lint format faults fuzz screenshot bench lock check-lock clean

setup: .venv/.run ## Create the environment, migrate, and make the demo login
	@$(BIN)/python manage.py demologin --migrate

run: .venv/.run ## Serve on http://127.0.0.1:$(PORT)/
	@exec $(BIN)/python manage.py serve --port $(PORT)

test: .venv/.dev ## Run every test
	@.ci/needs
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-postgres: .venv/.dev ## Run the tests of the database again, on a private PostgreSQL
	$(BIN)/python -m tests.support.services postgres -- $(BIN)/python -m pytest -m "database and not sqlite" --reuse-db $(PARALLEL) $(ARGS)

# In their order: browser tests come last, see tests/conftest.py. Which tests stay together tests/support/distribution.py says.
PARALLEL = -n $(WORKERS) --no-loadscope-reorder

lint: .venv/.dev ## Check style, types, layers, templates and migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/djlint --lint --check --quiet templates
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check

format: .venv/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/djlint --reformat --quiet templates

faults: .venv/.dev ## Kill, stop and cut off real servers under load: everywhere, in full numbers (hours)
	FAULTS=long $(BIN)/python -m pytest --timeout 0 tests/faults tests/generation/test_leaving_in_the_middle.py tests/contracts/test_server_contract.py tests/browser/test_broken_connection.py tests/chatsite/test_rolling_restart.py $(ARGS)

fuzz: .venv/.dev .venv/fuzz/.done ## Ask a running site, by its own description, whatever schemathesis thinks of
	$(BIN)/python -m tests.fuzz $(CURDIR)/.venv/fuzz/bin/schemathesis --max-examples 30 $(ARGS)

screenshot: .venv/.dev ## Take the README's screenshot anew
	$(BIN)/python -m tests.browser.screenshot docs/screenshot.png

bench: .venv/.dev ## Measure the site beside a plain pass-through; growth and the browser have commands of their own
	$(BIN)/python -m tests.bench $(ARGS)

lock: .venv/.dev ## Pin the dependencies anew for every supported Python, with hashes and without naming a registry
	$(BIN)/uv pip compile $(LOCK) -o requirements.txt requirements.in
	$(BIN)/uv pip compile $(LOCK) -o requirements-dev.txt requirements-dev.in
	$(BIN)/uv pip compile $(LOCK) -o requirements-fuzz.txt requirements-fuzz.in

LOCK := -q --upgrade --universal --python-version $(OLDEST) --generate-hashes --no-header --no-emit-index-url

check-lock: .venv/.dev ## Ask the registry whether the oldest and the newest supported Python can install the lock
	@for python in $(OLDEST) 3.11.2 3.12.0 3.13.0 $(NEWEST); do \
		echo "Python $$python"; \
		$(BIN)/uv pip install -q --dry-run --require-hashes --only-binary :all: --python-version $$python \
			--target .venv/lock -r requirements.txt -r requirements-dev.txt || exit 1; \
		$(BIN)/uv pip install -q --dry-run --require-hashes --only-binary :all: --python-version $$python \
			--target .venv/lock -r requirements-fuzz.txt || exit 1; \
	done

.venv/.run: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing what the site needs (once)"
	@$(PIP) install --no-compile --require-hashes -r requirements.txt
	@touch $@

.venv/.dev: .venv/.run requirements-dev.txt
	@echo "Installing what the tests need (once)"
	@$(PIP) install --no-compile --require-hashes -r requirements-dev.txt
	@touch $@

.venv/fuzz/.done: requirements-fuzz.txt
	@$(BIN)/python -m venv .venv/fuzz
	@.venv/fuzz/bin/python -m pip --disable-pip-version-check -q install --no-compile --require-hashes -r requirements-fuzz.txt
	@touch $@

clean: ## Remove the environment and the database
	rm -rf .venv db.sqlite3 db.sqlite3-shm db.sqlite3-wal .secret_key
