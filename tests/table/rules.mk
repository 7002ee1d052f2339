# The table server, asked as its clients ask it.
.PHONY: check-table check-table-pg check-vendor
VENDOR := $(O)/vendor-client
LOAD_SECONDS ?= 10

check-table: check-table-lite check-table-pg check-vendor ## the table server on SQLite and PostgreSQL, and the vendor's client
.PHONY: check-table-lite
check-table-lite: $(O)/deeplake-serve ## the table server on SQLite
	$(Q)DEEPLAKE_SERVE=$(abspath $<) python3 tests/table/table_test.py sqlite
	$(Q)DEEPLAKE_SERVE=$(abspath $<) python3 tests/table/escape_test.py sqlite

check-table-pg: $(O)/deeplake-serve $(O)/deeplake ## the table server on a PostgreSQL of its own
	$(Q)DEEPLAKE_SERVE=$(abspath $<) tests/table/with_postgres.sh \
		python3 tests/table/table_test.py
	$(Q)DEEPLAKE_SERVE=$(abspath $<) tests/table/with_postgres.sh \
		python3 tests/table/escape_test.py
	$(Q)DEEPLAKE_SERVE=$(abspath $<) tests/table/with_postgres.sh \
		python3 tests/table/cluster_test.py $(LOAD_SECONDS)

# Once: the vendor's Python client, pinned, in a directory of its own.
$(VENDOR)/.done:
	$(Q)python3 -m venv $(VENDOR)
	$(Q)$(VENDOR)/bin/pip install -q deeplake==4.7.4 aiohttp pytest
	$(Q)touch $@

check-vendor: $(O)/deeplake-serve $(VENDOR)/.done ## the vendor's own client and its live tests, on both stores
	$(Q)DEEPLAKE_SERVE=$(abspath $<) $(VENDOR)/bin/python \
		tests/table/vendor_test.py sqlite
	$(Q)DEEPLAKE_SERVE=$(abspath $<) tests/table/with_postgres.sh \
		$(VENDOR)/bin/python tests/table/vendor_test.py
