# The files view and the commands on tables, on a real server and real mounts.
# LONG=1 adds what waits for minutes or makes 100,000 files.
VIEW_TESTS := $(sort $(wildcard tests/view/test_*.py))
.PHONY: check-view

check-view: $(O)/deeplake $(O)/deeplake-serve ## the files view; query, grep, import, export, fsck, gc
	$(Q)DF_BUILD=$(abspath $(O)) tests/mount/run.py $(VIEW_TESTS)
