DATADIR  ?= $(PREFIX)/share
UNITDIR  ?= $(PREFIX)/lib/systemd/system
LIBEXECDIR ?= $(PREFIX)/libexec/deeplake
HELPERS  := mount.deeplakefs mount.fuse.deeplakefs \
	    umount.deeplakefs umount.fuse.deeplakefs
MAN1     := $(wildcard packaging/man/*.1)
MAN8     := $(wildcard packaging/man/*.8)
UNITS    := $(wildcard packaging/*.service packaging/systemd/*.service)
EXAMPLES := $(wildcard packaging/examples/*) packaging/fstab.example \
	    $(wildcard packaging/systemd/*mount) packaging/nginx-deeplake.conf \
	    packaging/template/Dockerfile
COMPLETIONS := $(wildcard packaging/completion/*)
DOCS     := $(wildcard *.md docs/*.md)
$(O)/tools/main.o: ALL_CPPFLAGS += -DDF_LIBEXECDIR='"$(LIBEXECDIR)"'
Di       := $(DESTDIR)

.PHONY: deb release dist distcheck check-install check-chroot
install: all $(BUNDLE)           ## honours PREFIX= and DESTDIR=; helpers go to SBINDIR=/sbin
	install -d $(Di)$(BINDIR) $(Di)$(SBINDIR) $(Di)$(MANDIR)/man1 \
		$(Di)$(MANDIR)/man8 $(Di)$(UNITDIR) $(Di)$(DATADIR)/doc/deeplakefs/examples \
		$(Di)$(DATADIR)/bash-completion/completions \
		$(Di)$(DATADIR)/deeplakefs
	install -m 755 $(O)/deeplake $(O)/deeplake-serve $(O)/deeplake-sandbox \
		$(Di)$(BINDIR)/
	$(Q)for h in $(HELPERS); do \
		ln -sf $(BINDIR)/deeplake $(Di)$(SBINDIR)/$$h || exit 1; done
	install -m 644 $(MAN1) $(Di)$(MANDIR)/man1/
	install -m 644 $(MAN8) $(Di)$(MANDIR)/man8/
	$(Q)for h in $(filter-out mount.deeplakefs,$(HELPERS)); do \
		ln -sf mount.deeplakefs.8 $(Di)$(MANDIR)/man8/$$h.8 || exit 1; \
	done
	install -m 644 $(UNITS) $(Di)$(UNITDIR)/
	install -m 644 $(COMPLETIONS) $(Di)$(DATADIR)/bash-completion/completions/
	install -m 644 $(DOCS) $(Di)$(DATADIR)/doc/deeplakefs/
	install -m 644 $(EXAMPLES) $(Di)$(DATADIR)/doc/deeplakefs/examples/
	install -m 644 $(BUNDLE) $(Di)$(DATADIR)/deeplakefs/

uninstall:                       ## remove what install put there
	rm -f $(addprefix $(Di)$(BINDIR)/,deeplake deeplake-serve deeplake-sandbox)
	rm -f $(addprefix $(Di)$(SBINDIR)/,$(HELPERS))
	rm -f $(addprefix $(Di)$(MANDIR)/man1/,$(notdir $(MAN1)))
	rm -f $(addprefix $(Di)$(MANDIR)/man8/,$(notdir $(MAN8)) $(addsuffix .8,$(HELPERS)))
	rm -f $(addprefix $(Di)$(UNITDIR)/,$(notdir $(UNITS)))
	rm -f $(addprefix $(Di)$(DATADIR)/bash-completion/completions/,$(notdir $(COMPLETIONS)))
	rm -rf $(Di)$(DATADIR)/doc/deeplakefs $(Di)$(DATADIR)/deeplakefs

deb: all $(BUNDLE)               ## a Debian package in $(O)
	$(Q)sh packaging/deb/build.sh $(O) $(VERSION)

DIST := deeplakefs-$(VERSION)
ARCHIVE := $(O)/$(DIST)-linux-$(shell uname -m).tar.gz
release: all $(BUNDLE)           ## the built programs as an archive with install.sh, in $(O)
	$(Q)rm -rf $(O)/release && mkdir -p $(O)/release/$(DIST)
	$(Q)$(MAKE) -s install PREFIX=/usr/local \
		DESTDIR=$(abspath $(O))/release/$(DIST) >/dev/null
	$(Q)strip $(O)/release/$(DIST)/usr/local/bin/*
	$(Q)install -m 755 packaging/install.sh $(O)/release/$(DIST)/
	$(Q)tar -C $(O)/release --owner=0 --group=0 -czf $(ARCHIVE) $(DIST)
	$(Q)rm -rf $(O)/release
	@echo $(ARCHIVE)

# ---- tests
INSTALL_ENV := BUILD=$(abspath $(O)) VERSION=$(VERSION) \
	       ARCHIVE=$(abspath $(ARCHIVE))
check-install: deb release       ## package, release archive, completion, manual
	$(Q)$(INSTALL_ENV) python3 tests/packaging/test_install.py

# Not below $(O): whole systems, made once with debootstrap.
ROOTS ?= $(O)-roots
check-chroot: deb release        ## install, use and remove in a clean Debian
	$(Q)tests/packaging/roots.sh $(ROOTS) bookworm
	$(Q)$(INSTALL_ENV) ROOTS=$(abspath $(ROOTS)) \
		python3 tests/packaging/test_chroot.py

dist:                            ## the sources of the last commit as a tar file in $(O)
	@mkdir -p $(O)
	git archive --format=tar.gz --prefix=$(DIST)/ -o $(O)/$(DIST).tar.gz HEAD

distcheck: dist                  ## build, install and uninstall from that tar file
	rm -rf $(O)/distcheck && mkdir -p $(O)/distcheck
	tar -C $(O)/distcheck -xzf $(O)/$(DIST).tar.gz
	$(MAKE) -C $(O)/distcheck/$(DIST) install O=build PREFIX=/usr \
		DESTDIR=$(abspath $(O)/distcheck/root)
	$(MAKE) -C $(O)/distcheck/$(DIST) uninstall O=build PREFIX=/usr \
		DESTDIR=$(abspath $(O)/distcheck/root)
	test -z "$$(find $(O)/distcheck/root ! -type d)"
	rm -rf $(O)/distcheck
