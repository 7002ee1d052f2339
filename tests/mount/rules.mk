# Tests on real mounts; a script each, see tests/mount/harness.py.
MOUNT_TESTS := $(sort $(wildcard tests/mount/test_*.py))
.PHONY: check-mount check-mount-plain check-mount-pass

check-mount: all bench-progs     ## tests on real mounts (needs /dev/fuse)
	$(Q)DF_BUILD=$(abspath $(O)) tests/mount/run.py $(MOUNT_TESTS)

check-mount-plain:               ## the same on a plain directory: is the test right
	$(Q)DF_BUILD=$(abspath $(O)) tests/mount/run.py --target plain $(MOUNT_TESTS)

check-mount-pass: bench-progs    ## the same on a plain passthrough: can FUSE do it
	$(Q)DF_BUILD=$(abspath $(O)) tests/mount/run.py --target pass $(MOUNT_TESTS)
