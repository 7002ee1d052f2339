# Benchmarks: the yardsticks (pass, floor) and the loops that are timed (work).
BENCH_PROGS := $(O)/tests/bench/pass $(O)/tests/bench/floor \
	$(O)/tests/bench/work $(O)/tests/bench/delay
# libfuse's own example, for comparison, where its package brings the source
LIBFUSE_EXAMPLES ?= /usr/share/doc/libfuse3-dev/examples
BENCH_LL := $(if $(wildcard $(LIBFUSE_EXAMPLES)/passthrough_ll.c),$(O)/tests/bench/passthrough_ll)
BENCH := DF_BUILD=$(abspath $(O)) tests/bench/bench.py
.PHONY: bench bench-quick check-bench bench-million bench-peers bench-progs bench-docs

bench-progs: $(BENCH_PROGS) $(BENCH_LL) ## build the benchmark's own programs

$(BENCH_PROGS): %: %.o
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(shell pkg-config --libs fuse3) -o $@

$(O)/tests/bench/passthrough_ll: $(LIBFUSE_EXAMPLES)/passthrough_ll.c
	@mkdir -p $(@D); echo "  CC   $@"
	$(Q)$(CC) -O2 -pthread -D_FILE_OFFSET_BITS=64 $< -o $@ $(shell pkg-config --cflags --libs fuse3)

bench: all bench-progs $(O)/sim  ## every figure of docs/performance.md (BENCH_ARGS=)
	$(Q)$(BENCH) --minutes 20 --limit 22 --json $(O)/bench.json $(BENCH_ARGS)

bench-quick: all bench-progs $(O)/sim ## five minutes, bars at half strength
	$(Q)$(BENCH) --quick --json $(O)/bench-quick.json $(BENCH_ARGS)

check-bench: all bench-progs     ## two minutes of bench-quick, for make check
	$(Q)$(BENCH) --short --json $(O)/bench-short.json $(BENCH_ARGS)

bench-million: all bench-progs   ## the same at 1,000,000 files
	$(Q)$(BENCH) --only million --limit 12 --json $(O)/bench-million.json $(BENCH_ARGS)

bench-peers: all bench-progs     ## beside rclone and sshfs, behind the same link
	$(Q)$(BENCH) --only peers --limit 12 --json $(O)/bench-peers.json $(BENCH_ARGS)

bench-docs:                      ## the tables of docs/performance.md from the JSON files
	$(Q)tests/bench/docs.py docs/performance.md $(wildcard $(O)/bench.json $(O)/bench-2.json $(O)/bench-million.json $(O)/bench-peers.json)
