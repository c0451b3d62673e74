# What people and CI run. Everything is made in .venv; nothing outside this folder is touched but system packages.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run install uninstall test check bench soak fuzz docs dashboards format clean

run: ## set up a fresh machine and run the monitor
	@PYTHON=$(PYTHON) deploy/setup.sh run
	@$(BIN)/ssondo-monitor run $(if $(CONFIG),--config $(CONFIG))

install: ## the service on this machine, or its upgrade; as root
	@PYTHON=$(PYTHON) deploy/install.sh $(ARGS)

uninstall: ## remove it; ARGS=--purge also configuration, bundles and state
	@deploy/uninstall.sh $(ARGS)

test: ## set up everything the tests need and run them all
	@PYTHON=$(PYTHON) deploy/setup.sh test
	@$(BIN)/python -m pytest $(ARGS)

check: ## formatting, lint and types
	@PYTHON=$(PYTHON) deploy/setup.sh test
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: ## speed, memory and latency, as a table
	@PYTHON=$(PYTHON) deploy/setup.sh test
	@$(BIN)/python -m tests.bench

soak: ## every fault at length, then a day of audio through the whole service with faults at random
	@PYTHON=$(PYTHON) deploy/setup.sh test
	@$(BIN)/python -m pytest -m soak tests/faults tests/deploy
	@$(BIN)/python -m tests.soak --hours 24 --speed 30 --out build/soak/$$(date +%Y%m%dT%H%M%S) $(ARGS)

fuzz: ## hostile input by coverage, 100,000 cases for each target
	@PYTHON=$(PYTHON) deploy/setup.sh test
	@$(BIN)/pip install -q -e '.[fuzz]'
	@for target in config pcm sound_file bundle mqtt http; do \
		$(BIN)/python -m tests.fuzz $$target $(ARGS) && $(BIN)/python -m tests.fuzz $$target --memory $(ARGS) || exit 1; \
	done

docs: ## pages of the library's interface, in build/api
	@PYTHON=$(PYTHON) deploy/setup.sh test
	@$(BIN)/pdoc -d google -o build/api $(subst /,.,$(basename $(filter-out %__init__.py,$(wildcard ssondo_stream/*.py ssondo_stream/*/*.py))))
	@echo "build/api/index.html"

dashboards: ## write Grafana's JSON and the reference of settings anew
	@$(BIN)/python -m deploy.grafana
	@$(BIN)/python -m deploy.reference

format:
	@$(BIN)/ruff check --fix-only -q .
	@$(BIN)/ruff format -q .

clean:
	rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache .hypothesis
