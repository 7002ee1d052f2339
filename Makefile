# deeplakefs: `make help` lists the targets.
PREFIX  ?= /usr/local
BINDIR  ?= $(PREFIX)/bin
SBINDIR ?= /sbin
MANDIR  ?= $(PREFIX)/share/man
O       ?= build
PKGS    := fuse3 libcurl sqlite3 libzstd libcrypto jansson libxxhash
SERVE_PKGS := libmicrohttpd sqlite3 libcrypto jansson libpq libcurl libzstd
SANDBOX_PKGS := libcurl jansson libcrypto
VERSION := $(shell cat packaging/VERSION)
WARN    := -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes \
           -Wmissing-prototypes -Wundef -Wcast-qual -Wpointer-arith \
           -Wwrite-strings $(if $(CI),-Werror)
CFLAGS  ?= -O2 -g
HARDEN  := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
ALL_CPPFLAGS := -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
           -DDF_VERSION='"$(VERSION)"' -DFUSE_USE_VERSION=314 \
           $(shell pkg-config --cflags $(PKGS) $(SERVE_PKGS)) $(CPPFLAGS)
ALL_CFLAGS   := -std=c11 -pthread -fno-common $(WARN) $(CFLAGS)
ALL_LDFLAGS  := -Wl,--as-needed -Wl,-z,relro,-z,now -pie $(LDFLAGS)
LIBS    := $(shell pkg-config --libs $(PKGS)) -lmagic -lm
SERVE_LIBS := $(shell pkg-config --libs $(SERVE_PKGS)) -lm
SANDBOX_LIBS := $(shell pkg-config --libs $(SANDBOX_PKGS))

# SANITIZE=address,undefined or SANITIZE=thread: same rules, own build folder
comma   := ,
ifdef SANITIZE
O       := build-$(subst $(comma),-,$(SANITIZE))
ALL_CFLAGS += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -O1 -fno-omit-frame-pointer
SAN_OBJ := $(O)/tests/sanitize.o # in every program
ALL_LDFLAGS += $(SAN_OBJ)
else
ALL_CFLAGS += $(HARDEN) $(if $(DEBUG),,-DNDEBUG)
endif
Q       := $(if $(V),,@)

BASE_SRC  := $(wildcard base/*.c)
BACK_SRC  := $(wildcard backend/*.c)
CACHE_SRC := $(wildcard cache/*.c cache/*/*.c)
FS_SRC    := $(wildcard fs/*.c)
TOOL_SRC  := $(wildcard tools/*.c)
SERVE_SRC := $(wildcard tools/serve/*.c)
SANDBOX_SRC := $(wildcard tools/sandbox/*.c)
LIB_SRC   := $(BASE_SRC) $(BACK_SRC) $(CACHE_SRC)
UNIT      := $(patsubst %.c,$(O)/%,$(wildcard tests/unit/test_*.c))
obj        = $(patsubst %.c,$(O)/%.o,$(1))

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all check check-unit install uninstall clean help
all: $(O)/deeplake $(O)/deeplake-serve $(O)/deeplake-sandbox ## build everything

$(O)/deeplake: $(call obj,$(TOOL_SRC) $(FS_SRC) $(LIB_SRC))
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(LIBS) -o $@

$(O)/deeplake-serve: $(call obj,$(SERVE_SRC) $(BASE_SRC))
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(SERVE_LIBS) -o $@

$(O)/deeplake-sandbox: $(call obj,$(SANDBOX_SRC) $(BASE_SRC))
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(SANDBOX_LIBS) -o $@

$(SAN_OBJ): tests/sanitize.c
	@mkdir -p $(@D) $(O)/reports
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -DDF_SAN_REPORTS='"$(abspath $(O))/reports"' -c $< -o $@

$(O)/%.o: %.c packaging/VERSION $(SAN_OBJ)
	@mkdir -p $(@D); echo "  CC   $<"
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# ---- tests: each suite has its rules beside it
include $(wildcard tests/*/rules.mk tools/*/rules.mk packaging/rules.mk)

check-unit: $(UNIT)              ## cmocka tests: no mount, no network
	$(Q)set -e; for t in $^; do $$t; done

# A unit test links the libraries, and the server's files when it tests those.
$(O)/tests/unit/test_serve_%: $(O)/tests/unit/test_serve_%.o $(call obj,$(filter-out tools/serve/main.c,$(SERVE_SRC)) $(BASE_SRC))
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(SERVE_LIBS) -lcmocka -o $@

$(O)/tests/unit/test_sandbox_%: $(O)/tests/unit/test_sandbox_%.o $(call obj,$(filter-out tools/sandbox/main.c,$(SANDBOX_SRC)) $(BASE_SRC))
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(SANDBOX_LIBS) -lcmocka -o $@

$(O)/tests/unit/test_base_%: $(O)/tests/unit/test_base_%.o $(call obj,$(BASE_SRC))
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(LIBS) -lcmocka -o $@

$(O)/tests/unit/test_backend_%: $(O)/tests/unit/test_backend_%.o $(call obj,$(BACK_SRC) $(BASE_SRC))
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(LIBS) -lmicrohttpd -lcmocka -o $@

$(O)/tests/unit/test_cache_%: $(O)/tests/unit/test_cache_%.o $(call obj,$(CACHE_SRC) $(BACK_SRC) $(BASE_SRC))
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(LIBS) -lcmocka -o $@

# What CI runs (SUITES=).  tests/run.py sums the suites' closing lines.
SUITES ?= lint check-unit check-cli check-install check-mount check-posix \
          check-table-lite check-view check-backend check-faultproxy \
          check-points check-kill check-hostile check-fuzz check-sandbox \
          check-sim check-bench $(if $(LONG),$(LONG_SUITES))
# With LONG=1: they take long, or fetch much (check-e2b, check-chroot).
LONG_SUITES := check-table check-e2b check-chroot check-crash check-faults \
               bench-quick
# They hold deadlines against the clock: a failure is tried once more and named.
# Never what looks for lost or wrong bytes at random moments.
TIMED := check-cli check-mount check-posix check-view check-faultproxy \
         check-sandbox check-table-lite check-bench bench-quick
.PHONY: check-deps
check: check-deps                ## every test that can run here
	$(Q)tests/run.py -O $(O) $(if $(LONG),--limit 7200) --timed "$(TIMED)" $(SUITES)
check-deps:                      ## install what is missing, build
	$(Q)tests/deps.sh
	$(Q)$(MAKE) --no-print-directory all

# Address and undefined behaviour over unit, POSIX, mount and command tests,
# threads over the first three; tests/sanitize.py says how reports are found.
.PHONY: check-sanitize
check-sanitize:                  ## tests in sanitized builds, no report at all (FLAVOUR=asan or tsan for one)
	$(Q)tests/sanitize.py -O $(O) $(FLAVOUR)

$(O)/tests/planted: $(O)/tests/planted.o
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ -o $@

clean:                           ## remove what make built
	rm -rf build build-*

help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## */\t/' | sort | expand -t 18

-include $(shell find $(O) -type f -name '*.d' 2>/dev/null)
