# All of it starts from a bare machine with Python >= 3.11: a virtual environment is made in .venv. `make help` tells what
# there is; README.md names the two that matter.

SHELL := /bin/bash
VENV := .venv
# Without bytecode on the disk each of the hundreds of processes that tests start would compile everything.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
SECONDS_EACH ?= 60
SEED ?= 0
LIVES ?= 400
YEARS ?= 5
MINUTES ?= 20
# What is empty is not said. A loss is told with the words that repeat it.
TORTURE = $(if $(FLOW),--flow $(FLOW)) $(if $(MACHINE),--machine $(MACHINE)) $(if $(filter-out 0,$(SEED)),--seed $(SEED)) \
	$(if $(POINTS),--points $(POINTS)) $(if $(POINT),--point $(POINT))
DEBIAN ?= trixie
COMMAND ?= make test
DIST ?= dist
DIST_BUILD ?= build/deb

# .venv holds the versions of constraints.txt, the build backend's included (newer releases of pip, 25.3 and later,
# read those from a variable of its own). `make demo` too: it has to succeed at the first try. Who installs certagent
# with plain pip gets the newest that pyproject.toml permits, and with them every mended hole.
LOCK := constraints.txt
PIP := -m pip install --quiet --disable-pip-version-check
LOCKED_PIP := PIP_CONSTRAINT=$(LOCK) PIP_BUILD_CONSTRAINT=$(LOCK) $(VENV)/bin/python $(PIP)

PYTEST := $(VENV)/bin/python -m pytest
# Many tests wait for other programs: three at once keep two cores busy.
TOGETHER := -n 3 --dist worksteal

# Within a minute of CPU, lint included.
QUICK := tests/unit tests/config tests/scep
# What meets every library that certagent uses, within five minutes.
BOTH_ENDS := tests/unit tests/config tests/scep tests/cli tests/keystore tests/agent

# What the tests run against, besides Python: see PARTS in tests/conftest.py.
PACKAGES := openssl man-db mandoc scep nginx-light haproxy systemd-container faketime strace tmux util-linux mount e2fsprogs \
	certmonger strongswan-pki libstrongswan-standard-plugins libstrongswan-extra-plugins dbus slapd default-jre-headless \
	gcc libc6-dev softhsm2 opensc libengine-pkcs11-openssl \
	swtpm swtpm-tools tpm2-abrmd tpm2-tools libtpm2-pkcs11-1 libtpm2-pkcs11-tools \
	libtss2-tcti-tabrmd0 libtss2-tcti-swtpm0
# To build a Debian package; build-essential because dpkg-buildpackage asks for it.
DEB_PACKAGES := debhelper build-essential fakeroot
# A gigabyte for the slow tests alone.
MORE_PACKAGES := cron $(DEB_PACKAGES) golang-go golang-github-smallstep-certificates-dev prometheus zsh fish
# The daemons of the shipped definitions, beside nginx and HAProxy.
DAEMON_PACKAGES := openvpn freeradius eapoltest charon-systemd strongswan-swanctl libcharon-extra-plugins iproute2 wpasupplicant hostapd \
	apache2 stunnel4 mosquitto postgresql default-jdk-headless pkcs11-provider postfix dovecot-imapd

.PHONY: help demo test test-debian test-more test-daemons test-all check pictures manual lint format fuzz bench simulate torture soak lock test-newest test-lowest packages more-packages deb clean

help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(VENV)/.installed ## watch certagent work, in about a minute; no root
	@$(VENV)/bin/certagent demo

ifdef T
test: $(VENV)/.dev
	@$(PYTEST) $(T)
else
test: $(VENV)/.dev packages ## the tests against real servers; these alone with T=path, T=path::name or T="-k word"
	@$(PYTEST) $(TOGETHER) -m "not slow"
endif

test-debian: ## `make test` on another Debian, DEBIAN=trixie, in a root of its own; COMMAND='...' for a part of it
	@tests/on_debian.sh $(DEBIAN) '$(COMMAND)'

# A target of its own for whatever takes longer or is not pytest's can be added to the line of its prerequisites.
test-more: $(VENV)/.dev more-packages ## what `make test` leaves out: the tests marked slow, but for the daemons'
	@$(PYTEST) $(TOGETHER) -m "slow and not daemons" || test $$? = 5  # 5: none is marked

test-daemons: $(VENV)/.dev more-packages ## each shipped definition with its daemon, and CRLs: half an hour
	@tests/packages.sh $(DAEMON_PACKAGES)
	@$(PYTEST) $(TOGETHER) -m daemons

test-all: test test-more test-daemons ## every test there is

check: lint ## lint, and the quick tests: a minute of CPU
	@$(PYTEST) $(TOGETHER) -m "not slow" $(QUICK)

pictures: $(VENV)/.dev ## the pictures in README.md, made of what the commands print today
	@$(VENV)/bin/python -m tests.readme.pictures

manual: $(VENV)/.dev ## share/: the man pages and completion scripts for packages, made of the program's own texts
	@$(VENV)/bin/certagent man --install share/man
	@for each in bash-completion/completions/certagent=bash zsh/site-functions/_certagent=zsh \
		fish/vendor_completions.d/certagent.fish=fish; do \
		mkdir -p "share/$$(dirname $${each%=*})" && $(VENV)/bin/certagent completion $${each#*=} >share/$${each%=*} || exit 1; \
	done

lint: $(VENV)/.dev ## ruff and mypy
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

format: $(VENV)/.dev ## ruff, changing files
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

$(VENV)/bin/python $(VENV)-newest/bin/python $(VENV)-lowest/bin/python:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or later is needed (Debian: apt-get install python3-venv)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		test "$$(id -u)" = 0 && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y python3-venv >/dev/null; } \
		|| { echo "make: $(PYTHON) cannot make virtual environments (Debian: apt-get install python3-venv)"; exit 1; }
	@echo "making $(@:/bin/python=) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(@:/bin/python=)

$(VENV)/.installed: pyproject.toml $(LOCK) | $(VENV)/bin/python
	@echo "installing certagent and what it needs"
	@$(LOCKED_PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml $(LOCK) | $(VENV)/bin/python
	@echo "installing certagent and what its tests need"
	@$(LOCKED_PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

fuzz: $(VENV)/.dev ## the coverage-guided fuzzers, SECONDS_EACH=60 for each parser; TARGET=name for one
	@$(LOCKED_PIP) --editable '.[dev,fuzz]'
	@$(VENV)/bin/python -m tests.fuzz.run --seconds $(SECONDS_EACH) $(TARGET)

bench: $(VENV)/.dev packages ## every figure of docs/performance.md, beside other clients: ten to thirteen minutes
	@$(VENV)/bin/python -m bench.table

simulate: $(VENV)/.dev ## lives of devices on a simulated clock: SEED=0 LIVES=400 YEARS=5 (about ten minutes)
	@$(VENV)/bin/python -m tests.simulation --seed $(SEED) --lives $(LIVES) --years $(YEARS)

torture: $(VENV)/.dev packages ## kills, failing calls, power cuts in every flow: FLOW= MACHINE= SEED= POINTS= POINT= (20 minutes)
	@$(VENV)/bin/python -m tests.torture.run $(TORTURE)

soak: $(VENV)/.dev packages ## the real agent and nginx in real time, troubles from a seed: MINUTES=20 SEED=
	@$(VENV)/bin/python -m tests.soak --minutes $(MINUTES) $(if $(filter-out 0,$(SEED)),--seed $(SEED))

lock: ## renew constraints.txt: the newest versions that fit Python 3.11 to 3.14, and run the tests
	@test -x $(VENV)-lock/bin/uv || { $(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/python $(PIP) uv; }
	@sed '/^[^#]/d' $(LOCK) >$(LOCK).new
	@echo setuptools | $(VENV)-lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 \
		--extra dev --no-header --no-annotate pyproject.toml - >>$(LOCK).new
	@for each in 3.11 3.12 3.13 3.14; do \
		$(VENV)-lock/bin/python $(PIP) --dry-run --no-deps --only-binary=:all: --python-version $$each --target none \
			-r $(LOCK).new || { echo "make: the versions in $(LOCK).new do not all install on Python $$each"; exit 1; }; \
	done
	@mv $(LOCK).new $(LOCK)
	@$(MAKE) --no-print-directory lint test

test-newest: $(VENV)-newest/bin/python ## the tests that meet the libraries, with the newest versions pyproject.toml permits
	@$< $(PIP) --upgrade --upgrade-strategy eager --editable '.[dev]'
	@$< -m pytest $(TOGETHER) -m "not slow" $(BOTH_ENDS)

test-lowest: $(VENV)-lowest/bin/python ## the same with the lowest; Python 3.11 alone has wheels of all of them
	@$< -m tests.lowest >$(VENV)-lowest/pins
	@PIP_CONSTRAINT=$(VENV)-lowest/pins PIP_BUILD_CONSTRAINT=$(VENV)-lowest/pins $< $(PIP) --editable '.[dev]'
	@$< -m pytest $(TOGETHER) -m "not slow" $(BOTH_ENDS)

packages: ## Debian packages for the real parts of the tests: installed when root, else listed
	@tests/packages.sh $(PACKAGES)

more-packages: packages
	@tests/packages.sh $(MORE_PACKAGES)

deb: ## a Debian package for the Debian this runs on, in dist/ (docs/packages.md)
	@tests/packages.sh $(DEB_PACKAGES)
	@rm -rf $(DIST_BUILD) && mkdir -p $(DIST_BUILD)/certagent $(DIST)
	@git ls-files -z --cached --others --exclude-standard --deduplicate | \
		tar --create --null --no-recursion --files-from=- --ignore-failed-read 2>/dev/null | \
		tar -C $(DIST_BUILD)/certagent --extract
	@cd $(DIST_BUILD)/certagent && DH_QUIET=1 dpkg-buildpackage --build=binary --no-sign >../log 2>&1 || \
		{ tail -n 20 ../log; exit 1; }
	@mv $(DIST_BUILD)/*.deb $(DIST)/ && ls -1 $(DIST)/*.deb

clean: ## remove what all of this made
	rm -rf $(VENV) $(VENV)-lock $(VENV)-newest $(VENV)-lowest build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
