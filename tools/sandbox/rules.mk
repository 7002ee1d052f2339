# The driver's archive for guests: relinked so that its libraries travel.
BUNDLE := $(O)/deeplake-bundle.tar.gz
$(O)/bundle/deeplake: $(call obj,$(TOOL_SRC) $(FS_SRC) $(LIB_SRC))
	@mkdir -p $(@D); echo "  LD   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -Wl,--disable-new-dtags \
		-Wl,-rpath,'$$ORIGIN/../lib' $^ $(LIBS) -o $@

$(BUNDLE): $(O)/bundle/deeplake packaging/bundle.sh packaging/bundle-setup
	@echo "  TAR  $@"
	$(Q)packaging/bundle.sh $@ $(VERSION) $<

.PHONY: bundle
bundle: $(BUNDLE)                ## the driver as one archive for sandboxes
