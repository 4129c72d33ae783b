# `make run` starts the site on a fresh clone; `make test` runs every test. Both need only Python 3.11 or newer.

PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
# Tests wait for timers, sockets and other processes: three processes of them keep two cores busy.
WORKERS ?= 3
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: setup run test test-postgres lint format faults bench lock clean

setup: .venv/.run ## Create the environment, migrate, and make the demo login
	@$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python manage.py demologin

run: setup ## Serve on http://127.0.0.1:$(PORT)/
	@$(BIN)/python manage.py demologin --show --port $(PORT)
	@exec $(BIN)/daphne --bind 127.0.0.1 --port $(PORT) --no-server-name --verbosity 0 chatsite.asgi:application

test: .venv/.dev ## Run every test
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-postgres: .venv/.dev ## Run the tests of the database again, on a private PostgreSQL
	$(BIN)/python -m tests.services postgres -- $(BIN)/python -m pytest -m database --reuse-db $(PARALLEL) $(ARGS)

# In their order: browser tests come last, see tests/conftest.py. Which tests stay together tests/distribution.py says.
PARALLEL = -n $(WORKERS) --no-loadscope-reorder

lint: .venv/.dev ## Check style, types, templates and migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/djlint --lint --check --quiet templates
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check

format: .venv/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/djlint --reformat --quiet templates

faults: .venv/.dev ## Kill, stop and cut off real servers under load: everywhere, in full numbers (hours)
	FAULTS=long $(BIN)/python -m pytest tests/faults tests/contracts/test_server_contract.py tests/browser/test_broken_connection.py $(ARGS)

bench: .venv/.dev ## Measure the site beside a plain pass-through; growth and the browser have commands of their own
	$(BIN)/python -m tests.bench $(ARGS)

lock: .venv/.dev ## Pin the dependencies anew, with hashes and without naming a registry
	$(BIN)/pip-compile $(LOCK) -o requirements.txt requirements.in
	$(BIN)/pip-compile $(LOCK) -o requirements-dev.txt requirements-dev.in

LOCK := -q --upgrade --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links --no-header

.venv/.run: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing what the site needs (once)"
	@$(PIP) install --require-hashes -r requirements.txt
	@touch $@

.venv/.dev: .venv/.run requirements-dev.txt
	@echo "Installing what the tests need (once)"
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

clean: ## Remove the environment and the database
	rm -rf .venv db.sqlite3 db.sqlite3-shm db.sqlite3-wal .secret_key
