# POSIX tests: a script for each group of promises, random tests, pjdfstest.
# LONG=1: ten seeds of 6,000 operations, and a directory of 1,000,000 entries.
POSIX_TESTS := $(sort $(wildcard tests/posix/test_*.py))
POSIX_RUN    = DF_BUILD=$(abspath $(O)) \
	       $(if $(LONG),DF_SEEDS=10 DF_OPS=6000 DF_BIG_DIR=1000000,DF_SEEDS=2) \
	       tests/mount/run.py
.PHONY: check-posix check-posix-plain check-posix-pass

$(O)/tests/posix/fsx: $(O)/tests/posix/fsx.o
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -o $@

check-posix: all bench-progs $(O)/tests/posix/fsx ## POSIX tests (PJDFSTEST_DIR=DIR adds pjdfstest, LONG=1 more seeds)
	$(Q)$(POSIX_RUN) $(POSIX_TESTS)

check-posix-plain: $(O)/tests/posix/fsx ## the same on a plain directory
	$(Q)$(POSIX_RUN) --target plain $(POSIX_TESTS)

check-posix-pass: bench-progs $(O)/tests/posix/fsx ## the same on a plain passthrough
	$(Q)$(POSIX_RUN) --target pass $(POSIX_TESTS)
