# SIGKILL at named points and at random, in a build that has the points.
CRASH_O := $(O)/points
CRASH    = DF_BUILD=$(abspath $(CRASH_O)) DF_TEST_LIMIT_S=7200 tests/mount/run.py
.PHONY: check-crash check-kill crash-build

crash-build:
	$(Q)$(MAKE) --no-print-directory O=$(CRASH_O) FAULT=1 all

check-kill: crash-build          ## a few dozen kills under load, two minutes
	$(Q)DF_SHORT=1 $(CRASH) tests/crash/test_kill.py

check-crash: crash-build         ## hundreds of kills, every named point; ends with their counts
	$(Q)$(CRASH) --counted tests/crash/test_kill.py
