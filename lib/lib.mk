# The library (lib/<layer>/**/*.cc and the CPU kernels) and the programs (lib/cli/<program>.cc, and
# what they share or are cut into, lib/cli/<folder>/*.cc).

lib_layers := base device topo boot net comm coll program model api
lib_sources := $(sort $(shell find $(wildcard $(addprefix lib/,$(lib_layers))) -name '*.cc' 2>/dev/null))
# The images go into the shared library, not into the archive, from which programs link what they use
# (lib/device/gpu_images.cc).
lib_objects := $(lib_sources:%.cc=$(B)/obj/%.o) $(kernel_objects)

so_name := libtilewire.so.$(abi)
so_file := $(B)/lib/libtilewire.so.$(version)
so_link := $(B)/lib/libtilewire.so
internal := $(B)/lib/libtilewire_internal.a

objects_file := $(B)/lib/objects
$(call remember,$(objects_file),$(lib_objects) $(gpu_objects))

# Which kernel targets this build holds, for the dispatcher and tw_info.
lib_defines := $(target_defines)
defines_file := $(B)/lib/defines
$(call remember,$(defines_file),$(lib_defines))

.PHONY: library programs
library: $(so_link) $(internal)

$(B)/obj/lib/%.o: lib/%.cc $(flags_file) $(defines_file)
	$(call quiet,CXX)$(compile_cxx) $(cxx_flags) $(lib_defines) -c $< -o $@

# The expansion of weights must give the same bits with and without fused multiply-adds.
$(B)/obj/lib/model/quant.o: cxx_flags += -ffp-contract=off

$(internal): $(lib_objects) $(objects_file)
	$(call quiet,AR)rm -f $@; ar rcs $@ $(lib_objects)

# Only tw_* leaves the library (lib/tilewire.map).
$(so_file): $(lib_objects) $(gpu_objects) $(objects_file) lib/tilewire.map
	$(call quiet,SO)$(CXX) -shared $(link_flags) -Wl,-soname,$(so_name) -Wl,--version-script=lib/tilewire.map $(lib_objects) $(gpu_objects) $(libs) -o $@

$(so_link): $(so_file)
	@ln -sf $(notdir $(so_file)) $(B)/lib/$(so_name); ln -sf $(so_name) $@

# Text and tokens (lib/text), for programs and tests; the library itself does not need PCRE2. With the
# readers of model files, which hold the vocabulary, and the part of lib/base that both use, because
# the shared library shows nothing but tw_*.
text_archive := $(B)/lib/libtilewire_text.a
file_readers := desc desc_config desc_gguf file gguf json mapped_file name_text names open quant safetensors \
  vocabulary vocabulary_json
text_objects := $(patsubst %.cc,$(B)/obj/%.o,$(sort $(wildcard lib/text/*.cc)) $(file_readers:%=lib/model/%.cc) lib/base/error.cc)
text_libs := $(text_archive) -lpcre2-8

$(text_archive): $(text_objects)
	$(call quiet,AR)rm -f $@; ar rcs $@ $(text_objects)

# Programs use the public API only, so they link the shared library like any user's.
use_so := -L$(B)/lib -ltilewire -Wl,-rpath,'$$ORIGIN/../lib'
cli_programs := $(patsubst lib/cli/%.cc,$(B)/bin/%,$(wildcard lib/cli/*.cc))
programs: $(cli_programs)

# The parts of the programs that run models.
cli_archive := $(B)/lib/libtilewire_cli.a
cli_objects := $(patsubst %.cc,$(B)/obj/%.o,$(sort $(wildcard lib/cli/*/*.cc)))
model_programs := $(addprefix $(B)/bin/,tw_generate tw_perplexity)
$(model_programs): $(cli_archive) $(text_archive)
$(model_programs): own_libs = $(cli_archive) $(text_libs)

$(cli_archive): $(cli_objects)
	$(call quiet,AR)rm -f $@; ar rcs $@ $(cli_objects)

$(B)/obj/lib/cli/%.o: lib/cli/%.cc $(flags_file)
	$(call quiet,CXX)$(compile_cxx) $(cxx_flags) $(lib_defines) -c $< -o $@

$(B)/bin/%: $(B)/obj/lib/cli/%.o $(so_link)
	$(call quiet,LINK)$(CXX) $< $(own_libs) $(link_flags) $(use_so) -lhwloc -ldl -o $@
