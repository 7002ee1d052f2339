# POSIX tests: a script for each group of promises, random tests, pjdfstest.
POSIX_TESTS := $(sort $(wildcard tests/posix/test_*.py))
.PHONY: check-posix check-posix-plain check-posix-pass

$(O)/tests/posix/fsx: $(O)/tests/posix/fsx.o
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -o $@

check-posix: all bench-progs $(O)/tests/posix/fsx ## POSIX tests (PJDFSTEST_DIR=DIR adds pjdfstest)
	$(Q)DF_BUILD=$(abspath $(O)) tests/mount/run.py $(POSIX_TESTS)

check-posix-plain: $(O)/tests/posix/fsx ## the same on a plain directory
	$(Q)DF_BUILD=$(abspath $(O)) tests/mount/run.py --target plain $(POSIX_TESTS)

check-posix-pass: bench-progs $(O)/tests/posix/fsx ## the same on a plain passthrough
	$(Q)DF_BUILD=$(abspath $(O)) tests/mount/run.py --target pass $(POSIX_TESTS)
