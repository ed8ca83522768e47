# `make help` lists the targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Left behind by a finished installation; older than what it was made from, it is made again.
RUNS := .venv/.runs
READY := .venv/.ready
# Tests run in many processes: each with one thread, and all with the bytecode that the first of them compiled.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE PYTHONDONTWRITEBYTECODE= $(BIN)/pytest
PIP := $(BIN)/python -m pip install --quiet --progress-bar on
# With hashes, and nothing but what the lock names.
LOCKED := $(PIP) --require-hashes --no-deps --requirement

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Node.js of a version that package.json takes, if it is there; `make NODE= …` goes without it.
NODE = $(shell node -p '[major, minor] = process.versions.node.split("."), major > 20 || major == 20 && minor >= 19 || ""' 2>/dev/null)
# Tools that check the pages and the OpenAPI document, clients that tests drive: in no wheel, and not needed to serve.
NODE_READY := node_modules/.ready

.PHONY: install
install: $(RUNS) ## Make .venv with what running takes, the demo too

# torch comes by its version: its builds for CPU, CUDA and ROCm share one, and no hash. On Linux, PyPI's brings CUDA along.
$(RUNS): pyproject.toml constraints.txt locks/run.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tintype needs Python 3.11 or later")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(LOCKED) locks/run.txt
	$(PIP) --constraint constraints.txt torch
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $(RUNS)

.PHONY: setup
setup: $(READY) $(if $(NODE),$(NODE_READY),without-node) ## The same and what developing takes: tests, Ray; node_modules, where Node.js is

.PHONY: without-node
without-node:
	@echo "No Node.js 20.19 or later here: make check leaves out biome and tsc, and tests that need such tools are skipped"

$(NODE_READY): package.json package-lock.json
	@npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || { echo "'make NODE= …' goes without npm and its tools"; exit 1; }
	@touch $(NODE_READY)

# litellm can't live with our versions: it lies in a folder of its own, with what differs and what only it needs.
$(READY): $(RUNS) locks/dev.txt locks/litellm.txt
	$(LOCKED) locks/dev.txt
	$(BIN)/python -m pip check
	rm -rf .venv/litellm
	$(LOCKED) locks/litellm.txt --no-compile --target .venv/litellm
	touch $(READY)

.PHONY: demo
demo: install ## Draw ten images with the four models into demo/
	$(BIN)/tintype demo --output demo

.PHONY: serve
serve: install ## Start the server on http://127.0.0.1:8000
	$(BIN)/tintype serve

.PHONY: test
test: setup ## Run every test but those of `make nightly`
	$(PYTEST) -n 4 --dist loadgroup --no-loadscope-reorder

.PHONY: nightly
nightly: setup ## Run the tests that `make test` leaves out: chaos, and two soaks of an hour (SOAK_MINUTES)
	$(PYTEST) -m nightly

.PHONY: bench
bench: setup ## Measure against diffusers, and the control plane against an earlier commit; write benchmarks/results/latest.json
	$(BIN)/python -m benchmarks.run

.PHONY: weights
weights: setup ## Train the built-in weights anew (hours)
	$(BIN)/python -m training

# Built without pip's own environment, whose setuptools would be fetched: ours is the same. What an earlier build has left
# in build/lib would go in too.
.PHONY: wheel
wheel: install ## Make the wheel for other machines, and the versions that belong to it, in dist/ (docs/install.md)
	rm -rf build/lib dist
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	cp constraints.txt dist
	cp -r locks dist

# A package that is new takes its newest version, all others keep theirs; UPGRADE=--upgrade renews them all. `uv` resolves
# for every platform and Python at the same time, and takes the hash of each file that the index has.
UV := build/uv/bin/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-package torch --no-annotate \
	--custom-compile-command 'make lock'
LOCK := $(COMPILE) pyproject.toml
# Of what litellm needs, these two can't be ours.
APART := certifi|importlib-metadata
.PHONY: lock
lock: ## Write locks/ and constraints.txt anew from pyproject.toml (fetches uv)
	test -x $(UV) || { $(PYTHON) -m venv build/uv && build/uv/bin/python -m pip install --quiet uv==0.13.9; }
	grep '^torch==' constraints.txt > build/torch.txt
	$(LOCK) --extra dev $(UPGRADE) --constraint build/torch.txt --output-file locks/dev.txt
	{ sed '/^[^#]/d' constraints.txt; cat build/torch.txt; sed -n 's/ *\\$$//; /^[a-z].*==/p' locks/dev.txt; } > build/pins.txt
	mv build/pins.txt constraints.txt
	$(LOCK) --extra demo --constraint constraints.txt --output-file locks/run.txt
	sed -nE '/^($(APART))==/d; s/^([a-z0-9-]+==[^ ]*).*/\1/p' locks/dev.txt > build/ours.txt
	$(COMPILE) --group litellm $(UPGRADE) --constraint build/ours.txt $$(sed 's/==.*//; s/^/--no-emit-package /' build/ours.txt) \
		--output-file locks/litellm.txt
	$(LOCK) $(foreach extra,demo otel postgres s3 safety,--extra $(extra)) --constraint constraints.txt --output-file locks/server.txt

SAMPLES := src/tintype/web/pages/static/samples
.PHONY: samples
samples: setup ## Draw the pages' sample pictures anew, with the built-in weights
	mkdir -p $(SAMPLES)
	TINTYPE_MARK=off $(BIN)/tintype generate sd1.5-img2img --image /sd-img2img-input.jpeg --prompt "a castle on a sky blue background" --strength 0.9 --seed 4 -o $(SAMPLES)/sd1.5-img2img.webp
	TINTYPE_MARK=off $(BIN)/tintype generate sd3-med-img2img --image /sd3-img2img-ip.jpg --prompt "a lion" --strength 0.9 --seed 1 -o $(SAMPLES)/sd3-med-img2img.webp
	TINTYPE_MARK=off $(BIN)/tintype generate stable-diffusion-3-turbo-img2img --mode image-to-image --image /sd3-turbo-i2i-input.jpg --prompt "a fox on a sky blue background" --strength 0.9 --seed 1 -o $(SAMPLES)/stable-diffusion-3-turbo-img2img.webp
	TINTYPE_MARK=off $(BIN)/tintype generate stable-diffusion-3.5-turbo-txt2img --prompt "a birthday cake on a pink background" --seed 1 --width 512 --height 512 -o $(SAMPLES)/stable-diffusion-3.5-turbo-txt2img.webp
	TINTYPE_MARK=off $(BIN)/tintype generate sd1.5-txt2img --prompt "a rocket on a dark blue background" --seed 1 -o $(SAMPLES)/sd1.5-txt2img.webp
	TINTYPE_MARK=off $(BIN)/tintype generate sd1.5-inpainting --image /sd-img2img-input.jpeg --mask /sd-inpainting-mask.jpeg --prompt "a sunflower" --seed 2 -o $(SAMPLES)/sd1.5-inpainting.webp
	TINTYPE_MARK=off $(BIN)/tintype generate sd3-med-txt2img --prompt "a strawberry" --seed 1 --img-width 512 --img-height 512 -o $(SAMPLES)/sd3-med-txt2img.webp

.PHONY: screenshots
screenshots: setup ## Have the pages' tests leave their photographs in docs/images, for docs/browser.md
	SCREENSHOTS=$(CURDIR)/docs/images $(PYTEST) tests/acceptance/test_pages*.py

.PHONY: rehearsal
rehearsal: setup ## Run every step of `make weights` for three steps, in build/rehearsal (minutes)
	mkdir -p build/rehearsal/src/tintype/weights
	cp src/tintype/weights/README.md build/rehearsal/src/tintype/weights
	cd build/rehearsal && PYTHONPATH=$(CURDIR) TINTYPE_REHEARSAL_STEPS=3 $(CURDIR)/$(BIN)/python -m training

.PHONY: check
check: setup ## Check style, types, layers, words, the pages' modules and the files under deploy/
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.words
	$(BIN)/python -m tests.docs --check
	! LC_ALL=C.UTF-8 grep -rnE --include='*.[jt]s' '.{121}' src/tintype/web/pages/static
	$(if $(NODE),node_modules/.bin/biome ci --error-on-warnings)
	$(if $(NODE),node_modules/.bin/tsc)
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(BIN)/check-jsonschema --quiet --schemafile $$($(BIN)/python -c 'import ray.autoscaler as a; print(a.__path__[0])')/ray-schema.json deploy/ray.yaml
	$(BIN)/kubernetes-validate --strict --quiet deploy/kubernetes/*.yaml

.PHONY: docs
docs: setup ## Write anew what of the documents is made from the code
	$(BIN)/python -m tests.docs

.PHONY: tree
tree: setup ## List the modules of src/tintype, each with what it is for
	$(BIN)/python -m tests.tree

.PHONY: footprint
footprint: setup ## Count the modules and functions of tintype that one warm request runs
	$(BIN)/python -m tests.footprint

.PHONY: clean
clean: ## Remove what was built: .venv, node_modules, demo/ and caches
	rm -rf .venv node_modules demo dist build/lib build/uv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
