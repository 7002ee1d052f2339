# SIGKILL at named points and at random; LONG=1 makes hundreds of rounds.
CRASH_O := $(O)-fault
.PHONY: check-crash

check-crash:                     ## kill the daemon under load, compare with its history
	$(Q)$(MAKE) --no-print-directory O=$(CRASH_O) CPPFLAGS="$(CPPFLAGS) -DDF_FAULT" all
	$(Q)DF_BUILD=$(abspath $(CRASH_O)) tests/mount/run.py tests/crash/test_kill.py
