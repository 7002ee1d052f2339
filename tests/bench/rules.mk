# Benchmarks: the yardsticks (pass, floor) and the loops that are timed (work).
BENCH_PROGS := $(O)/tests/bench/pass $(O)/tests/bench/floor $(O)/tests/bench/work
.PHONY: bench bench-quick bench-peers bench-progs

bench-progs: $(BENCH_PROGS)      ## build the benchmark's own programs

$(BENCH_PROGS): %: %.o
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(shell pkg-config --libs fuse3) -o $@

