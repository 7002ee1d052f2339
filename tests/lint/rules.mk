.PHONY: lint format
lint:                            ## format, sizes, rooms, cppcheck, shellcheck, spelling (CHECKS=)
	$(Q)python3 tests/lint/lint.py $(CHECKS)

format:                          ## rewrite the C sources as .clang-format has it
	$(Q)clang-format --style=file -i $(wildcard base/*.[ch] backend/*.[ch] \
		cache/*.[ch] cache/*/*.[ch] fs/*.[ch] tools/*.[ch] tools/*/*.[ch] tests/*/*.[ch])
