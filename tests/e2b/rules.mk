# The sandbox tool: unit tests live in tests/unit, the rest is here.
E2B := $(O)/e2b
E2B_PY := $(E2B)/venv/bin/python
E2B_ENV = SANDBOX_TOOL=$(abspath $(O))/deeplake-sandbox \
	SANDBOX_PASS=$(abspath $(O))/tests/bench/pass \
	SANDBOX_SERVE=$(abspath $(O))/deeplake-serve \
	SANDBOX_DRIVER=$(abspath $(O))/deeplake \
	SANDBOX_BUNDLE=$(abspath $(BUNDLE)) \
	E2B_NODE_MODULES=$(abspath $(E2B))/node/node_modules

# The official clients, as pinned; fetched by name from PyPI and npm.
$(E2B)/venv/.installed: tests/e2b/requirements.lock
	@echo "  PIP  $(E2B)/venv"
	$(Q)/usr/bin/python3 -m venv $(E2B)/venv
	$(Q)$(E2B)/venv/bin/pip install -q --disable-pip-version-check \
		--require-hashes -r $<
	$(Q)touch $@

$(E2B)/node/.installed: tests/e2b/package.json tests/e2b/package-lock.json
	@echo "  NPM  $(E2B)/node"
	@mkdir -p $(E2B)/node
	$(Q)cp $^ $(E2B)/node/
	$(Q)cd $(E2B)/node && npm ci --silent --ignore-scripts --no-audit \
		--no-fund
	$(Q)touch $@

.PHONY: check-sandbox check-e2b check-e2b-tool check-e2b-clients \
	check-e2b-kill check-e2b-guide check-e2b-inside check-e2b-foreign
# Two minutes of it, without what has to be fetched: every command on both
# providers, and the guide with the real driver on this machine.
check-sandbox: $(O)/deeplake-sandbox $(O)/deeplake $(O)/deeplake-serve $(BUNDLE) $(O)/tests/bench/pass ## the sandbox tool on both providers, in short
	$(Q)$(E2B_ENV) SHORT=1 /usr/bin/python3 tests/e2b/test_tool.py
	$(Q)$(E2B_ENV) /usr/bin/python3 tests/e2b/test_guide.py - guide/local

check-e2b: check-e2b-tool check-e2b-clients check-e2b-guide check-e2b-inside check-e2b-foreign check-e2b-kill ## the sandbox tool, and the official E2B clients, on a loopback server

# E2B_ENVD=FILE: the real guest agent's binary, which then serves once more
check-e2b-tool: $(O)/deeplake-sandbox $(O)/tests/bench/pass
	$(Q)$(E2B_ENV) /usr/bin/python3 tests/e2b/test_tool.py

check-e2b-clients: $(O)/deeplake-sandbox $(E2B)/venv/.installed $(E2B)/node/.installed
	$(Q)$(E2B_ENV) /usr/bin/python3 tests/e2b/test_clients.py $(E2B_PY)

# The guide with the real driver, in both providers and with both SDKs.
check-e2b-guide: $(O)/deeplake-sandbox $(O)/deeplake $(O)/deeplake-serve $(BUNDLE) \
		$(E2B)/venv/.installed $(E2B)/node/.installed
	$(Q)$(E2B_ENV) /usr/bin/python3 tests/e2b/test_guide.py $(E2B_PY)

check-e2b-inside: $(O)/deeplake-sandbox $(O)/deeplake $(O)/deeplake-serve $(BUNDLE)
	$(Q)$(E2B_ENV) /usr/bin/python3 tests/e2b/test_inside.py

# The driver's archive in other systems (tests/packaging/roots.sh).
check-e2b-foreign: $(O)/deeplake-sandbox $(O)/deeplake-serve $(BUNDLE)
	$(Q)tests/packaging/roots.sh $(ROOTS) bookworm trixie musl
	$(Q)$(E2B_ENV) ROOTS=$(abspath $(ROOTS)) \
		/usr/bin/python3 tests/e2b/test_foreign.py

# LONG=1: 100 rounds, else 10
check-e2b-kill: $(O)/deeplake-sandbox $(O)/deeplake $(O)/deeplake-serve $(BUNDLE) $(O)/tests/bench/pass
	$(Q)$(E2B_ENV) ROUNDS=$(if $(LONG),100,10) \
		/usr/bin/python3 tests/e2b/test_kill.py
