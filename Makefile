# make demo     people found in a picture, a video or a camera, over real ROS 2 topics
# make test     ruff, then all tests but those that take minutes (make test-long)
# Both start from nothing: they make .venv, install into it and build what is not there yet.

SHELL := /bin/bash
.DEFAULT_GOAL := help

SOURCE ?= people
MODEL ?= dope_lite
SECONDS ?=
PYTEST_ARGS ?=
export SOURCE MODEL PYTHON

STAMPS := .venv/stamps
BUILT := .work/stamp
SOURCES := package.xml CMakeLists.txt setup.cfg \
	$(shell find dope_msgs dope_ros dope_model launch config -type f -not -name '*.pyc')

# A virtual environment for another ROS 2, or made in another place, is made anew.
ifneq ($(shell setup/ros_kind.sh) $(CURDIR),$(shell cat $(STAMPS)/kind 2>/dev/null))
.PHONY: $(STAMPS)/kind
endif

.PHONY: help
help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12
	@echo
	@echo 'make demo SOURCE=...   people (default), clip (people who walk), astronaut, a picture, a folder'
	@echo '                       of pictures, a video, /dev/video0 or 0 for a camera'
	@echo '          MODEL=...    dope_lite (default), experts,'
	@echo '                       experts:thorough, or a weights file (brings PyTorch, 5 GB)'
	@echo '          SECONDS=...  how long to record (default 15, or 3 per picture of a folder)'
	@echo 'make ... PYTHON=...    the Python to make .venv with (3.10 to 3.12)'

.PHONY: demo
demo: $(BUILT)  ## find people over real ROS 2 topics; pictures and poses go to out/
	@source setup/env.sh && python -m dope_ros.demo \
	    --source "$$SOURCE" --model "$$MODEL" --seconds '$(SECONDS)' --out out

# Other weights than dope_lite's may have no graphs, which PyTorch makes.
ifneq ($(filter-out dope_lite experts experts:%,$(MODEL)),)
demo: $(STAMPS)/network
endif

.PHONY: test
test: $(BUILT) $(STAMPS)/network $(STAMPS)/test lint  ## ruff and the tests
	source setup/env.sh && python -m pytest $(PYTEST_ARGS)

.PHONY: test-long
test-long: $(BUILT) $(STAMPS)/network $(STAMPS)/test  ## the tests that take minutes
	source setup/env.sh && python -m pytest -m long $(PYTEST_ARGS)

.PHONY: lint
lint: $(STAMPS)/lint  ## ruff alone
	.venv/bin/python -m ruff check .

.PHONY: docs
docs: $(BUILT)  ## write the generated tables of docs/ anew
	source setup/env.sh && python tools/generated_docs.py

.PHONY: build
build: $(BUILT)  ## the ROS packages, into .work/install/

.PHONY: clean
clean:  ## remove everything that make made, .venv too; out/ stays
	rm -rf .venv .work

$(STAMPS)/kind:
	setup/make_venv.sh

$(STAMPS)/run: $(STAMPS)/kind setup/install.sh setup/run.txt setup/ros_wheels.txt \
		setup/experts_models.txt setup/constraints.txt setup/patch_wheels.py
	setup/install.sh run

$(STAMPS)/lint: $(STAMPS)/kind setup/lint.txt
	setup/install.sh lint

$(STAMPS)/network: $(STAMPS)/run setup/network.txt
	setup/install.sh network

$(STAMPS)/test: $(STAMPS)/run setup/test.txt
	setup/install.sh test

$(BUILT): $(STAMPS)/run $(SOURCES)
	setup/build.sh
