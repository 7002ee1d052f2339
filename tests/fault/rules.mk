PYTHON ?= python3

.PHONY: check-faultproxy check-backend check-faults check-hostile check-disk
check-faultproxy:                ## the proxy that the fault tests rely on
	$(Q)$(PYTHON) tests/fault/test_faultproxy.py

check-backend: $(O)/tests/fault/table_live $(O)/deeplake-serve ## the table client against a live server, through faults
	$(Q)BUILD=$(abspath $(O)) tests/mount/run.py tests/fault/test_table_live.py

check-hostile: all               ## an attacker's table, promises by name, damaged caches, secrets
	$(Q)DF_BUILD=$(abspath $(O)) tests/mount/run.py \
		tests/fault/test_hostile.py tests/fault/test_promises.py \
		tests/crash/test_cachedir.py

# A disk that fails at the n-th call, in the build that has the points.
check-disk: crash-build
	$(Q)DF_SHORT=$(if $(LONG),,1) $(CRASH) tests/crash/test_local.py

check-faults: crash-build        ## bad server, network, disk and table on mounts; ends with the faults by kind
	$(Q)DF_SHORT=$(if $(LONG),,1) $(CRASH) --counted \
		tests/fault/test_faults.py tests/crash/test_local.py \
		tests/fault/test_hostile.py tests/fault/test_promises.py \
		tests/crash/test_cachedir.py

$(O)/tests/fault/table_live: $(call obj,tests/fault/table_live.c $(BACK_SRC) $(BASE_SRC))
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(LIBS) -o $@
