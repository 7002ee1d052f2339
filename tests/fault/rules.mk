PYTHON ?= python3

.PHONY: check-faultproxy
check-faultproxy:                ## the proxy that the fault tests rely on
	$(Q)$(PYTHON) tests/fault/test_faultproxy.py
