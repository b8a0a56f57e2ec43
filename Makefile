# The commands of the project; `make` lists them. What needs root says so before it starts.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
STACK ?= dev
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
LAB := $(VENV)/bin/python -m lab
PYTEST := $(VENV)/bin/python -m pytest --durations 10 --durations-min 10
# What a stack file may say, what follows from it and how it is judged: tests that start no program.
QUICK := $(addprefix test_,$(addsuffix .py,config model schema dev_stack layering drift host_rules review reachability reachability_rules))

# Make takes any variable, and with `stack=home` or `STAK=home` it would be about dev.
VARIABLES := STACK BASE MARKDOWN SARIF JSON YES WRITE FILE EGRESS PARTS PYTHON
$(foreach name,$(filter-out $(VARIABLES) VENV READY LAB PYTEST SHELL MAKE% -%,$(.VARIABLES)),$(if $(filter command line,$(origin $(name))), \
	$(foreach upper,$(shell echo $(name) | tr a-z A-Z),$(error $(name)=$($(name)):$(if $(filter $(upper),$(VARIABLES)), \
	variables of make are in upper case; write $(upper)=$($(name)), make has no such variable; write one of $(VARIABLES))))))

.PHONY: help up preview diff down verify drift suggest survey adopt report compose cloud-init router test quick lint actionlint unit coverage \
	contributing browser parts matrix live bench tools env schema lock hooks

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

up: $(READY) ## bring the stack up and show who may reach whom (the lab of STACK=dev: as root)
	@$(LAB) up --stack $(STACK) $(if $(filter 1 y yes,$(YES)),--yes)

preview: $(READY) ## judge what `make up` would do; needs neither root nor Docker nor Proxmox
	@$(LAB) preview --stack $(STACK)

diff: $(READY) ## flows that this tree opens and closes against BASE=<branch, tag or commit>, and findings
	@$(VENV)/bin/python -m commands review $(if $(MARKDOWN),--markdown '$(MARKDOWN)') \
		$(if $(SARIF),--sarif '$(SARIF)') -- '$(BASE)' 'Pulumi.$(STACK).yaml'

down: $(READY) ## take away all that `make up` made (the lab of STACK=dev: as root)
	@$(LAB) down --stack $(STACK) $(if $(filter 1 y yes,$(YES)),--yes)

verify: $(READY) ## probe the running stack: every cell as the declared flows say, or exit 1 (on Docker-SRV: as root)
	@env="$$($(LAB) env --stack $(STACK))" && eval "$$env" && $(VENV)/bin/python -m commands verify --stack $(STACK) \
		--json verify-$(STACK).json --metrics

drift: $(READY) ## what differs between stack file, state and live network, and what `make up` does about it
	@env="$$($(LAB) env --stack $(STACK))" && eval "$$env" && $(VENV)/bin/python -m commands drift --stack $(STACK)

suggest: $(READY) ## undeclared flows that were tried, as lines to declare them, and declared ones without use (on Docker-SRV, as root)
	@env="$$($(LAB) env --stack $(STACK))" && eval "$$env" && $(VENV)/bin/python -m commands suggest --stack $(STACK)

survey: $(READY) ## who can reach whom on a running Docker engine today, worst first; WRITE=Pulumi.<name>.yaml declares it
	@$(VENV)/bin/python -m commands survey $(if $(JSON),--json) $(if $(WRITE),--write '$(WRITE)')

adopt: $(READY) ## write adopt-$(STACK).md and imports-$(STACK).json: how what runs becomes the stack's own; changes nothing
	@env="$$($(LAB) env --stack $(STACK))" && eval "$$env" && $(VENV)/bin/python -m commands adopt --stack $(STACK)

report: $(READY) ## draw the stack and who can reach whom as one page, report-$(STACK).html; needs nothing running
	@$(VENV)/bin/python -m commands report Pulumi.$(STACK).yaml

compose: $(READY) ## FILE=docker-compose.yml in a stack file's words, with the flows that it needs; writes nothing
	@test -n '$(FILE)' || { echo "FILE: is not given; write make compose FILE=docker-compose.yml" >&2; exit 2; }
	@$(VENV)/bin/python -m commands compose $(if $(EGRESS),--egress $(EGRESS)) '$(FILE)'

cloud-init: $(READY) ## write cloud-init-$(STACK)/: the files by which guests with an app, or a router, set themselves up
	@$(VENV)/bin/python -m commands cloud-init Pulumi.$(STACK).yaml

router: $(READY) ## write router-$(STACK)/: the rules of the site's router, from the flows that cross it
	@$(VENV)/bin/python -m commands router Pulumi.$(STACK).yaml

.DEFAULT:
	@echo "$@: is no command; make lists them" >&2; exit 2

# Each part starts in its own make, which says at the end what each took.
test: $(READY) ## every check, and every test but `make matrix` and `make contributing` (as root: it brings the lab up and takes it down)
	@took=; for part in lint actionlint unit browser tools parts live; do \
		since=$$(date +%s); $(MAKE) --no-print-directory "$$part"; took="$$took, $$part $$(( $$(date +%s) - since )) s"; \
	done; echo "passed:$${took#,}"

quick: $(READY) ## style, and the tests that take a moment: for the loop of editing
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(PYTEST) --numprocesses auto --dist worksteal -m 'not slow' $(addprefix tests/unit/,$(QUICK))

lint: $(READY) ## style of Python and YAML, and types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/yamllint --strict .

actionlint: $(READY) ## the GitHub workflows, by actionlint, which is built once (a minute)
	@$(VENV)/bin/python -m tests.actionlint

unit: $(READY) ## the tests that need neither tools nor root
	@$(PYTEST) --numprocesses auto --dist worksteal tests/policies tests/unit

# What tests start as processes of their own is not counted.
coverage: $(READY) ## the tests of `make unit`, and how many lines they reach: the ten lowest files, and in all
	@$(PYTEST) --numprocesses auto --dist worksteal --cov --cov-report= tests/policies tests/unit
	@$(VENV)/bin/coverage report --sort=cover | sed -n '1,12p;$$p'

contributing: $(READY) ## lint and unit on a copy with the examples of CONTRIBUTING.md (some minutes)
	@$(PYTEST) tests/contributing

browser: $(READY) ## the report in a headless Chromium (as root where Debian's must be installed)
	@$(PYTEST) tests/browser

parts: $(READY) tools ## the tests on single real parts, with nothing running: engine, images, guests (as root)
	@$(PYTEST) --numprocesses auto --dist loadfile --no-loadscope-reorder -m 'not matrix' tests/parts

matrix: $(READY) tools ## the tests on every other engine, of killed runs, imports and examples/stacks (as root; many minutes)
	@$(PYTEST) -m matrix tests/parts

live: $(READY) tools ## the tests on the running lab (as root)
	@$(PYTEST) tests/live

bench: $(READY) tools ## measure, and write docs/performance.md (many minutes; as root)
	@$(VENV)/bin/python -m bench $(PARTS)

tools: $(READY) ## get Pulumi and its plugins: installed, published, or built (some minutes, once)
	@$(LAB) tools

env: $(READY) ## print the environment for your shell: eval "$$(make -s env)"
	@$(LAB) env --stack $(STACK)

schema: $(READY) ## write docs/*.schema.json from the model
	@$(VENV)/bin/python -m commands schema

hooks: $(READY) ## have git run the checks of `make lint` before each commit, on what it changes
	@$(VENV)/bin/pre-commit install

lock: $(READY) ## write requirements.txt from requirements.in
	@$(VENV)/bin/uv pip compile --quiet --generate-hashes --no-header --no-annotate --universal \
		--python-version 3.11 requirements.in --output-file requirements.txt

# pip verifies every file against the lock's checksums; a change of the lock makes the environment anew.
$(READY): requirements.txt
	@echo "environment: $(VENV) from requirements.txt" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "python3 is older than 3.11; install Python 3.11 or newer" >&2; exit 1; }
	@test ! -L $(VENV) || { echo "$(VENV) is a link, and what it leads to would be cleared; remove the link" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) \
		|| { echo "python3 -m venv failed; install the venv module (Debian: python3-venv)" >&2; exit 1; }
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt
	@touch $@
