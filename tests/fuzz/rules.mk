# Fuzzing: every tests/fuzz/fuzz_NAME.c defines LLVMFuzzerTestOneInput.  Its
# first line, "// links: base backend cache serve sandbox tools", says which
# folders it is linked with (files with a main() are left out).  Inputs worth
# keeping are in tests/fuzz/corpus/NAME/.
#
# Checksums are not compared in these builds (df_sum_ok in cache/bytes/segfmt.h), or
# the fuzzer would never get behind them.
FUZZ_TIME  ?= 60
FUZZ_CC    ?= clang
FUZZ_SRC   := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(FUZZ_SRC))
FUZZ_DEFS  := -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
FUZZ_FLAGS := -std=c11 -pthread -fno-common -g -O1 -fno-omit-frame-pointer
FUZZ_SAN   := address,undefined

fuzz_nomain = $(if $(wildcard $(1)/*.c),$(shell grep -L '^int main.' $(1)/*.c))
FUZZ_base    := $(BASE_SRC)
FUZZ_backend := $(BACK_SRC)
FUZZ_cache   := $(CACHE_SRC)
FUZZ_serve   := $(call fuzz_nomain,tools/serve)
FUZZ_sandbox := $(call fuzz_nomain,tools/sandbox)
FUZZ_tools   := $(call fuzz_nomain,tools)
fuzz_srcs = $(foreach l,$(shell sed -n '1s,^// links: *,,p' $(1)),$(FUZZ_$(l)))
FUZZ_LIBS  = $(LIBS) $(SERVE_LIBS) $(SANDBOX_LIBS)

.PHONY: fuzz check-fuzz
fuzz: $(FUZZ_NAMES:%=$(O)/fuzz/fuzz_%) ## fuzz every decoder, FUZZ_TIME=60 seconds each (clang)
	$(Q)tests/fuzz/each.py $(O) $(FUZZ_NAMES)

check-fuzz: $(FUZZ_NAMES:%=check-fuzz-%) ## replay the kept fuzz inputs

$(O)/fuzz/%.o: %.c
	@mkdir -p $(@D); echo "  FUZZCC $<"
	$(Q)$(FUZZ_CC) $(ALL_CPPFLAGS) $(FUZZ_DEFS) $(FUZZ_FLAGS) \
		-fsanitize=fuzzer-no-link,$(FUZZ_SAN) \
		-fno-sanitize-recover=all -MMD -MP -c $< -o $@

$(O)/replay/%.o: %.c
	@mkdir -p $(@D); echo "  CC   $< (replay)"
	$(Q)$(CC) $(ALL_CPPFLAGS) $(FUZZ_DEFS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# One target: $(1) is its name.  The folders become an archive, so that only
# what the target uses is linked.  What the fuzzer finds new stays in the build
# folder; a crashing input lands beside it.
define FUZZ_RULES
.PHONY: fuzz-$(1) check-fuzz-$(1)
$$(O)/fuzz/lib_$(1).a: $$(patsubst %.c,$$(O)/fuzz/%.o,$$(call fuzz_srcs,tests/fuzz/fuzz_$(1).c))
	$$(Q)rm -f $$@ && $$(AR) rcs $$@ $$^

$$(O)/replay/lib_$(1).a: $$(patsubst %.c,$$(O)/replay/%.o,$$(sort $$(BASE_SRC) $$(call fuzz_srcs,tests/fuzz/fuzz_$(1).c)))
	$$(Q)rm -f $$@ && $$(AR) rcs $$@ $$^

$$(O)/fuzz/fuzz_$(1): $$(O)/fuzz/tests/fuzz/fuzz_$(1).o $$(O)/fuzz/lib_$(1).a
	@echo "  LD   $$@"
	$$(Q)$$(FUZZ_CC) $$(FUZZ_FLAGS) -fsanitize=fuzzer,$$(FUZZ_SAN) $$^ $$(FUZZ_LIBS) -o $$@

$$(O)/replay/fuzz_$(1): $$(O)/replay/tests/fuzz/fuzz_$(1).o $$(O)/replay/tests/fuzz/replay.o $$(O)/replay/lib_$(1).a
	@echo "  LD   $$@"
	$$(Q)$$(CC) $$(ALL_CFLAGS) $$(ALL_LDFLAGS) $$^ $$(FUZZ_LIBS) -o $$@

fuzz-$(1): $$(O)/fuzz/fuzz_$(1)
	@mkdir -p $$(O)/fuzz/found/$(1) tests/fuzz/corpus/$(1)
	$$(Q)$$(O)/fuzz/fuzz_$(1) -max_total_time=$$(FUZZ_TIME) -timeout=10 \
		-rss_limit_mb=1024 -print_final_stats=1 -verbosity=0 \
		-max_len=65536 -artifact_prefix=$$(O)/fuzz/$(1)- \
		$$(O)/fuzz/found/$(1) tests/fuzz/corpus/$(1)

check-fuzz-$(1): $$(O)/replay/fuzz_$(1)
	$$(Q)$$(O)/replay/fuzz_$(1) tests/fuzz/corpus/$(1)
endef
$(foreach n,$(FUZZ_NAMES),$(eval $(call FUZZ_RULES,$(n))))

# The points of base/fault.h, compiled in.
ifdef FAULT
ALL_CPPFLAGS += -DDF_FAULT
endif
.PHONY: check-points
check-points:                    ## local bytes with every named point failing, or killing
	$(Q)$(MAKE) FAULT=1 O=$(O)/points $(O)/points/tests/unit/test_cache_seg
	$(Q)$(O)/points/tests/unit/test_cache_seg

# Every unit test under valgrind: leaks and uninitialised bytes are failures.
.PHONY: check-valgrind
check-valgrind: $(UNIT)          ## unit tests under valgrind
	$(Q)set -e; for t in $^; do \
		DF_VALGRIND=1 valgrind -q --error-exitcode=9 --leak-check=full \
			--errors-for-leak-kinds=definite $$t; done
