# Tests on real mounts; a script each, see tests/mount/harness.py.
# LONG=1 makes test_bounded.py longer.
MOUNT_TESTS := $(sort $(wildcard tests/mount/test_*.py))
MOUNT_RUN    = DF_BUILD=$(abspath $(O)) tests/mount/run.py
.PHONY: check-mount check-mount-plain check-mount-pass

check-mount: all bench-progs     ## tests on real mounts (needs /dev/fuse)
	$(Q)$(MOUNT_RUN) $(MOUNT_TESTS)

check-mount-plain:               ## the same on a plain directory: is the test right
	$(Q)$(MOUNT_RUN) --target plain $(MOUNT_TESTS)

check-mount-pass: bench-progs    ## the same on a plain passthrough: can FUSE do it
	$(Q)$(MOUNT_RUN) --target pass $(MOUNT_TESTS)
