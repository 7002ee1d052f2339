.PHONY: check-cli
check-cli: all                   ## the commands, with and without a server; help and man pages
	$(Q)BUILD=$(abspath $(O)) tests/mount/run.py $(sort $(wildcard tests/cli/test_*.py))

# The main job on real input, for a stranger: needs apt and /dev/fuse.
.PHONY: demo
demo:                            ## install what is missing, build, show the main job
	$(Q)tests/deps.sh demo
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/demo.sh $(O)
