# The files view and the commands on tables, on a real server and real mounts.
VIEW_TESTS := $(sort $(wildcard tests/view/test_*.py))
.PHONY: check-view

check-view: $(O)/deeplake $(O)/deeplake-serve ## the files view; query, grep, import, export, fsck, gc
	$(Q)DF_BUILD=$(abspath $(O)) tests/mount/run.py $(VIEW_TESTS)
