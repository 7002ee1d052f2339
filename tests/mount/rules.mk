# Tests on real mounts; a script each, see tests/mount/harness.py.
# LONG=1 adds three whose failures are open (CHANGELOG.md): test_bounded.py
# (bytes lost in a cache smaller than the data; offline noticed late),
# test_programs.py (npm: the view sends a text that the server refuses),
# test_requests.py (counts the view's own inserts).
MOUNT_TESTS := $(sort $(wildcard tests/mount/test_*.py))
ifndef LONG
MOUNT_TESTS := $(filter-out %/test_bounded.py %/test_programs.py \
                 %/test_requests.py,$(MOUNT_TESTS))
endif
MOUNT_RUN    = DF_BUILD=$(abspath $(O)) DF_LONG=$(LONG) tests/mount/run.py
.PHONY: check-mount check-mount-plain check-mount-pass

check-mount: all bench-progs     ## tests on real mounts (needs /dev/fuse)
	$(Q)$(MOUNT_RUN) $(MOUNT_TESTS)

check-mount-plain:               ## the same on a plain directory: is the test right
	$(Q)$(MOUNT_RUN) --target plain $(MOUNT_TESTS)

check-mount-pass: bench-progs    ## the same on a plain passthrough: can FUSE do it
	$(Q)$(MOUNT_RUN) --target pass $(MOUNT_TESTS)
