# make demo   watch certagent work, in about a minute; no root
# make test   every test; Debian packages for the real parts are installed when root, else listed
# make test-debian DEBIAN=trixie   the same on another Debian, in a root of its own; COMMAND='…' for a part of it
# make lint   ruff and mypy
# make simulate   lives of devices on a simulated clock: SEED=0 LIVES=400 YEARS=5 (about ten minutes)
# make fuzz   the coverage-guided fuzzers, SECONDS_EACH=60 for each parser; TARGET=name for one
#
# All of it starts from a bare machine with Python >= 3.11: a virtual environment is made in .venv.

SHELL := /bin/bash
VENV := .venv
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
SECONDS_EACH ?= 60
SEED ?= 0
LIVES ?= 400
YEARS ?= 5
DEBIAN ?= trixie
COMMAND ?= make test

# What the tests run against, besides Python: see PARTS in tests/conftest.py.
PACKAGES := openssl scep nginx-light haproxy systemd-container faketime tmux util-linux mount \
	certmonger strongswan-pki libstrongswan-standard-plugins libstrongswan-extra-plugins dbus slapd default-jre-headless \
	gcc libc6-dev softhsm2 opensc libengine-pkcs11-openssl \
	swtpm swtpm-tools tpm2-abrmd tpm2-tools libtpm2-pkcs11-1 libtpm2-pkcs11-tools \
	libtss2-tcti-tabrmd0 libtss2-tcti-swtpm0

.PHONY: demo test test-debian lint format fuzz simulate packages clean

demo: $(VENV)/.installed
	@$(VENV)/bin/certagent demo

test: $(VENV)/.dev packages
	@$(VENV)/bin/python -m pytest -n 2 --dist worksteal

test-debian:
	@tests/on_debian.sh $(DEBIAN) '$(COMMAND)'

lint: $(VENV)/.dev
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

format: $(VENV)/.dev
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or later is needed (Debian: apt-get install python3-venv)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		test "$$(id -u)" = 0 && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y python3-venv >/dev/null; } \
		|| { echo "make: $(PYTHON) cannot make virtual environments (Debian: apt-get install python3-venv)"; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing certagent and what it needs"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing certagent and what its tests need"
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

fuzz: $(VENV)/.dev
	@$(PIP) --editable '.[dev,fuzz]'
	@$(VENV)/bin/python -m tests.fuzz.run --seconds $(SECONDS_EACH) $(TARGET)

simulate: $(VENV)/.dev
	@$(VENV)/bin/python -m tests.simulation --seed $(SEED) --lives $(LIVES) --years $(YEARS)

packages:
	@tests/packages.sh $(PACKAGES)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
