# make install PREFIX=<dir> [DESTDIR=<dir>]: library, headers, programs, pkg-config and CMake files.
# The two templates get the kernel targets and their flags from kernels/kernels.mk.

public_headers := $(shell find include -name '*.[hS]' 2>/dev/null)
installed = "$(DESTDIR)$(PREFIX)"
semicolons = $(subst $(eval) ,;,$(strip $(1)))
# A list of `text\n` words as sed text, one a line.
lines = $(patsubst %\n,%,$(subst \n ,\n,$(strip $(1))))

define fill_template
sed -e 's|@VERSION@|$(version)|g' -e 's|@ABI@|$(abi)|g' -e 's|@MAJOR@|$(firstword $(subst ., ,$(version)))|g' \
    -e 's|@CPU_TARGETS@|$(strip $(cpu_targets))|' -e 's|@KERNEL_FLAGS@|$(strip $(kernel_flags))|' \
    -e 's|@CPU_TARGETS_CMAKE@|$(call semicolons,$(cpu_targets))|' \
    -e 's|@GPU_FLAGS_CMAKE@|$(call semicolons,$(gpu_flags))|' \
    -e 's|@KERNEL_FLAGS_CMAKE@|$(call semicolons,$(kernel_flags))|' \
    -e 's|@TARGET_LINES@|$(call lines,$(foreach t,$(cpu_targets),kernel_flags_$(t)=$(strip $(arch_$(t)) $(call target_macro,$(t)))\n))|' \
    -e 's|@TARGET_LINES_CMAKE@|$(call lines,$(foreach t,$(cpu_targets),set(TILEWIRE_KERNEL_FLAGS_$(t) $(call semicolons,$(arch_$(t)) $(call target_macro,$(t))))\n))|' $(1) > $(2)
endef

.PHONY: install
install: library programs  ## PREFIX=<dir>: library, headers, programs, pkg-config, CMake package
	@mkdir -p $(installed)/lib/pkgconfig $(installed)/lib/cmake/tilewire $(installed)/bin
	@install -m 755 $(so_file) $(installed)/lib/
	@ln -sf $(notdir $(so_file)) $(installed)/lib/$(so_name)
	@ln -sf $(so_name) $(installed)/lib/libtilewire.so
	@$(foreach h,$(public_headers),install -D -m 644 $(h) $(installed)/$(h) &&) true
	@$(foreach p,$(cli_programs),install -m 755 $(p) $(installed)/bin/ &&) true
	@$(call fill_template,lib/install/tilewire.pc.in,$(installed)/lib/pkgconfig/tilewire.pc)
	@$(call fill_template,lib/install/tilewireConfig.cmake.in,$(installed)/lib/cmake/tilewire/tilewireConfig.cmake)
	@$(call fill_template,lib/install/tilewireConfigVersion.cmake.in,$(installed)/lib/cmake/tilewire/tilewireConfigVersion.cmake)
	@echo "installed tilewire $(version) in $(installed)"
