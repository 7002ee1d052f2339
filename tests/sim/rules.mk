# The simulation: several nodes on the real cache code, without FUSE and network.
SEEDS ?= 200
FIRST ?= 0
APART ?= 0
AMID ?= 0
SIM_JOBS ?= 2
SIM_OBJ := $(patsubst %.c,$(O)/sim-obj/%.o,$(CACHE_SRC) $(wildcard tests/sim/*.c))
.PHONY: sim check-sim sim-rules

$(O)/sim-obj/%.o: %.c packaging/VERSION
	@mkdir -p $(@D); echo "  CC   $< (sim)"
	$(Q)$(CC) $(ALL_CPPFLAGS) -DDF_SIM $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# ids come from the seed: the product's random bytes are tests/sim's
$(O)/sim: $(SIM_OBJ) $(call obj,$(BACK_SRC) $(BASE_SRC))
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -Wl,--wrap=df_random $^ $(LIBS) -o $@

sim: $(O)/sim                    ## simulated volumes: SEEDS=n FIRST=s APART=0..60 AMID=0..100
	$(Q)$< --seeds $(SEEDS) --first $(FIRST) --apart $(APART) --amid $(AMID) \
		--jobs $(SIM_JOBS)

check-sim: $(O)/sim              ## named scenarios and 200 seeds
	$(Q)$< --named --jobs $(SIM_JOBS)
	$(Q)$< --only one-dir --seeds 20 --jobs $(SIM_JOBS)
	$(Q)$< --seeds 100 --jobs $(SIM_JOBS)
	$(Q)$< --seeds 40 --first 100 --amid 50 --jobs $(SIM_JOBS)
	$(Q)$< --seeds 60 --first 140 --apart 60 --jobs $(SIM_JOBS)

sim-rules: $(O)/sim              ## each merge rule off in turn must be noticed
	$(Q)$< --rules --apart 60 --seeds $(SEEDS) --jobs $(SIM_JOBS)
