PYTHON ?= python3

.PHONY: check-faultproxy check-backend
check-faultproxy:                ## the proxy that the fault tests rely on
	$(Q)$(PYTHON) tests/fault/test_faultproxy.py

check-backend: $(O)/tests/fault/table_live $(O)/deeplake-serve ## the table client against a live server, through faults
	$(Q)$(PYTHON) tests/fault/test_table_live.py $(O)

$(O)/tests/fault/table_live: $(call obj,tests/fault/table_live.c $(BACK_SRC) $(BASE_SRC))
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(LIBS) -o $@
