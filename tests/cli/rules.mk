.PHONY: check-cli
check-cli: $(O)/deeplake         ## the commands: arguments, help, messages, man pages
	$(Q)BUILD=$(abspath $(O)) python3 tests/cli/test_cli.py
