# make repro: rebuild everything that is out of date    make test: run the tests    make lint: check style
# The environment is made here, in .venv, from the pinned requirements; PYTHON picks the interpreter.

PYTHON ?= python3
WORKERS = --numprocesses 3 --dist loadfile --no-loadscope-reorder
# Modules are compiled when they are first imported: most never are.
PIP = --disable-pip-version-check --no-compile --constraint constraints.txt
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONNOUSERSITE := 1
# A virtual environment or a setting of the caller's must not reach in; one that keeps compiled modules from being
# written would have every process compile all it imports.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV PYTHONDONTWRITEBYTECODE

.PHONY: constraints repro repro-all verdict undo report site test test-whole test-all share-test torture fuzz lint format bench baseline guide families pictures schema clean help

repro: .venv/installed  ## rebuild what is out of date, show the metrics, say whether the bits are the committed ones
	@python -m workspace ready
	@dvc repro
	@echo
	@cat metrics/evaluate/metrics.json
	@echo
	@echo "Pictures: plots/evaluate/    All of them and the curves on one page: .venv/bin/dvc plots show --open"
	@python -m workspace verdict || true

PIPELINES = dvc.yaml $(sort $(wildcard */dvc.yaml))

repro-all: .venv/installed  ## all pipelines, and whether each has the committed bits (a quarter of an hour)
	@python -m workspace ready
	@dvc repro $(PIPELINES)
	@for pipeline in $(PIPELINES); do python -m workspace verdict $$pipeline || failed=1; done; exit $${failed:-0}

verdict: .venv/installed  ## whether the outputs here are the committed bits, and if not, what differs
	@python -m workspace verdict

undo: .venv/installed  ## back to the last commit, whatever stopped a run: parameters, dvc.lock, metrics, data, model, pictures
	@python -m workspace undo

test: .venv/installed-test  ## run the tests that need no server, browser, cluster or whole run of DVC but one (three minutes)
	@python -m pytest $(WORKERS) $(or $(TESTS),-m "not whole" --ignore tests/sharing --ignore tests/cluster)

# They start servers, kill processes and wait for others, on whatever machine there is: one that fails is run once more,
# and named at the end all the same.
RERUN = --reruns 1 -r aR

test-whole: .venv/installed-test-all  ## run the others
	@python -m pytest $(WORKERS) $(RERUN) -m whole $(TESTS)

test-all: .venv/installed-test-all  ## run all tests
	@python -m pytest $(WORKERS) $(RERUN) $(TESTS)

share-test: .venv/installed-test-all  ## the tests of remotes alone: two clones and real servers on loopback
	@python -m pytest tests/sharing

torture: .venv/installed-test  ## kill searches and dvc repro, each at every step and at random (half an hour)
	@TORTURE_ROUNDS=20 python -m pytest --numprocesses 2 tests/dvcsweep/test_faults.py
	@TORTURE_ROUNDS=6 python -m pytest --numprocesses 2 tests/workspace/test_undo.py

fuzz: .venv/installed-test  ## 4000 damaged inputs of every kind to the real commands: none may end in a traceback (five minutes)
	@python tests/fuzz/campaign.py --mutations 4000

lint: .venv/installed-dev  ## check style and formatting
	@ruff check .
	@ruff format --check .

format: .venv/installed-dev  ## mend style and formatting where that can be done safely
	@ruff check --fix .
	@ruff format .

report: site  ## the run on one page, what to change next, the analysis and all documents; shown where there is a screen
report: MARK = --mark
report: OPEN = --open report.html

site: .venv/installed-site  ## the same for publishing, in site/: refused where a figure in the analysis is not its file's
	@python -m workspace ready
	@dvc repro
	@test "$(MARK)" || rm -f site/docs/analysis.html
	@python -m pages.report site/report.html models/README.md --site
	@$(MAKE) --no-print-directory MARK=$(MARK) site/docs/analysis.html
	@python -m pages.site site $(OPEN)

# Made again when something changed that it is made from.
site/docs/analysis.html: docs/analysis.py docs/window.html params.yaml $(wildcard pages/*.py docs/*.csv docs/*.yaml \
		metrics/*/*.json metrics/*/*.csv metrics/*/*/*.csv studies/*/trials.csv studies/bases/*.yaml tonesift/*/*.py)
	@python -m pages.notebook docs/analysis.py $@ $(MARK)

bench: .venv/installed-scale  ## measure what docs/speed.md says (about forty minutes)
	@python -m benchmarks.arithmetic
	@python -m benchmarks.training
	@python -m benchmarks.training time
	@python -m benchmarks.data
	@python -m benchmarks.evaluation
	@python -m benchmarks.overhead
	@python -m benchmarks.streaming
	@python -m benchmarks.reading
	@python -m benchmarks.reading
	@python -m benchmarks.searches --trials 500
	@python -m benchmarks.cluster
	@python -m benchmarks.scale driver --trials 10000

baseline: .venv/installed  ## the guide's configuration as a study, and its comparison for docs/results.md (ten minutes)
	@python -m dvcsweep run studies/baseline.yaml
	@git show "$$(git for-each-ref --sort=-creatordate --count=1 --format='%(objectname)' \
		'refs/exps/**/baseline-000-*')":metrics/evaluate/comparison.csv > docs/baseline.csv

guide: .venv/installed  ## measure the guide's tables again (hours; goes on where it stopped) into docs/guide-tables.md
	@for study in studies/guide-*.yaml; do python -m dvcsweep run $$study || exit 1; done
	@python -m pages.guide_tables studies docs/guide-claims.yaml docs/guide-tables.md

families: .venv/installed  ## the families side by side (an hour), and what a sample costs as a stream, into docs/families.csv
	@for study in parameters time folds; do python -m dvcsweep run studies/family-$$study.yaml || exit 1; done
	@python -m benchmarks.families docs/families.csv

pictures: .venv/installed  ## bring the pictures that README and docs/ show to docs/
	@cp plots/evaluate/context.png plots/evaluate/graph2.png plots/evaluate/robustness.png docs/
	@python -m pages.story studies/story/trials.csv docs/story.png
	@python -m pages.conditions studies/bases/general.yaml docs/conditions.png
	@folder=$$(mktemp -d) && python -m pages.cleaning docs/cleaning.md $$folder docs && rm -r $$folder
	@folder=$$(mktemp -d) && python -m pages.hum docs/hum.md $$folder docs/hum.png && rm -r $$folder

schema: .venv/installed  ## write the JSON schema of params.yaml
	@python -m tonesift.params > params.schema.json

clean:  ## remove the environment (data, models and DVC's cache stay)
	rm -rf .venv

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##/\1:/p' Makefile

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "tonesift needs Python 3.11 or newer, but $(PYTHON) is older or not there: make PYTHON=python3.12 ..."; exit 1; }
	@test -w . || { echo "this folder is not yours to write to: clone the repository into one of yours"; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; echo "No venv module? On Debian: apt-get install python3-venv"; exit 1; }

constraints: .venv/installed-dev  ## pin what requirements*.txt bring with them
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --strip-extras \
		requirements-test-all.txt requirements-dev.txt --output-file constraints.txt

.venv/installed: requirements.txt constraints.txt | .venv/bin/python
	python -m pip install $(PIP) -r requirements.txt
	@touch $@

.venv/installed-site: requirements-site.txt .venv/installed
	python -m pip install $(PIP) -r requirements-site.txt
	@touch $@

.venv/installed-test: requirements-test.txt requirements-site.txt .venv/installed
	python -m pip install $(PIP) -r requirements-test.txt
	@touch $@

.venv/installed-test-all: requirements-test-all.txt requirements-scale.txt requirements-test.txt requirements-site.txt requirements.txt constraints.txt | .venv/bin/python
	python -m pip install $(PIP) -r requirements-test-all.txt
	@touch $@

.venv/installed-scale: requirements-scale.txt .venv/installed
	python -m pip install $(PIP) -r requirements-scale.txt
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	python -m pip install $(PIP) -r requirements-dev.txt
	@touch $@
