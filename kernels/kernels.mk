# kernels/**/*.cu: tile programs, compiled once for each target from one source.

kernel_sources := $(call find_files,kernels,*.cu)

# ---- CPU targets: the host compiler, once per instruction set ---------------------------------------
# Everything in a kernel lives in TW_NS, which differs per target: an inline function compiled with
# -march=x86-64-v4 must never be the copy that the linker keeps for a machine without AVX-512
# (tests/symbols_test.sh looks for such leaks).
# The first two exist for matrix multiplication: of the library's kernels only tile programs are built
# for them.
wide_cpu_targets := $(if $(filter x86_64,$(machine)),cpu_amx cpu_avx512_bf16)
cpu_targets := $(wide_cpu_targets) $(if $(filter x86_64,$(machine)),cpu_avx512 cpu_avx2) cpu_portable
arch_cpu_amx := -march=x86-64-v4 -mavx512bf16 -mamx-tile -mamx-bf16 -mprfchw -mprefer-vector-width=512
arch_cpu_avx512_bf16 := -march=x86-64-v4 -mavx512bf16 -mprfchw -mprefer-vector-width=512
arch_cpu_avx512 := -march=x86-64-v4 -mprfchw -mprefer-vector-width=512
arch_cpu_avx2 := -march=x86-64-v3 -mprfchw -mprefer-vector-width=256
arch_cpu_portable :=
kernel_flags := $(or $(OPT),-O3) -ffp-contract=off -fno-exceptions -fno-rtti
# The unrolled loops under all checks of UBSan take minutes to compile: fewer checks, less optimised.
kernel_sanitize := $(if $(filter asan fuzz,$(VARIANT)),-O1 -fno-sanitize=null$(comma)object-size$(comma)pointer-overflow$(comma)vptr)
target_macro = -DTW_NS=tw::$(1) -DTW_TARGET_$(shell echo $(1) | tr a-z A-Z)

tile_sources := $(filter-out kernels/coll/%,$(kernel_sources))
sources_of = $(if $(filter $(wide_cpu_targets),$(1)),$(tile_sources),$(kernel_sources))

define cpu_kernel_rule
kernel_objects += $$(patsubst %.cu,$$(B)/obj/$(1)/%.o,$$(call sources_of,$(1)))
$$(B)/obj/$(1)/%.o: %.cu $$(flags_file) kernels/kernels.mk
	$$(call quiet,CXX)$$(compile_cxx) $$(cxx_flags) $$(kernel_flags) $$(kernel_sanitize) $$(arch_$(1)) $(call target_macro,$(1)) -x c++ -c $$< -o $$@
endef
# The portable objects come first: should an inline function slip out of TW_NS all the same, the linker
# keeps the copy that every machine can run.
kernel_objects :=
$(foreach target,cpu_portable $(filter-out cpu_portable,$(cpu_targets)),$(eval $(call cpu_kernel_rule,$(target))))

# ---- GPU targets: nvcc makes PTX of each source, ptxas a cubin of the PTX --------------------------
# build/gpu/<source>.<target>.{ptx,cubin}, and .ptxas: what ptxas says of registers and memory.
# Both images go into the library: the driver takes the cubin; a driver for another chip, and the
# virtual GPU, take the PTX. The example's kernel is built too, for its report.
ifeq ($(origin NVCC),undefined)
NVCC := $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
endif
PTXAS ?= $(dir $(NVCC))ptxas
gpu_targets := $(if $(NVCC),sm_90a sm_80)
gpu_sources := $(filter-out %/reduce_loops.cu,$(kernel_sources))
gpu_flags := -std=c++20 -O3 -lineinfo -fmad=false --expt-relaxed-constexpr
nvcc_flags := $(gpu_flags) -I. -Iinclude -Werror all-warnings -ccbin g++
ptxas_flags := -O3 -lineinfo -v --warning-as-error
gpu_stems := $(gpu_sources:kernels/%.cu=%) $(patsubst tests/%.cu,%,$(filter-out tests/examples/08_%,$(wildcard tests/examples/*/*.cu)))
gpu_images := $(foreach t,$(gpu_targets),$(gpu_stems:%=build/gpu/%.$(t).cubin))
gpu_objects := $(foreach t,$(gpu_targets),$(gpu_sources:kernels/%.cu=$(B)/obj/gpu/%.$(t).o))

.PHONY: gpu
gpu: $(gpu_images)
	$(if $(NVCC),,@echo "GPU targets skipped: nvcc not found")

# Source lines in the images are named from here, wherever here is.
define gpu_rules
build/gpu/%.$(1).ptx: kernels/%.cu kernels/kernels.mk
	$$(make_ptx)
build/gpu/%.$(1).ptx: tests/%.cu kernels/kernels.mk
	$$(make_ptx)
build/gpu/%.$(1).cubin: build/gpu/%.$(1).ptx
	$$(call quiet,PTXAS)$$(PTXAS) $$(ptxas_flags) -arch=$(1) $$< -o $$@ 2> $$(@:.cubin=.ptxas) || { cat $$(@:.cubin=.ptxas); exit 1; }
endef
gpu_target = $(lastword $(subst ., ,$(basename $@)))
make_ptx = $(call quiet,NVCC)$(NVCC) $(nvcc_flags) $(call target_macro,$(gpu_target)) -arch=$(gpu_target:sm_%=compute_%) -ptx -MMD -MF $@.d -MT $@ $< -o $@ && sed -i 's|"$(CURDIR)/|"|' $@
$(foreach t,$(gpu_targets),$(eval $(call gpu_rules,$(t))))

gpu_symbol = $(subst .,_,$(notdir $(1)))
gpu_image_source := include/tilewire/kernels/gpu_image.S
$(B)/obj/gpu/%.o: build/gpu/%.cubin build/gpu/%.ptx $(gpu_image_source) $(flags_file)
	$(call quiet,EMBED)$(CC) -c -DTW_IMAGE=$(call gpu_symbol,$*) -DTW_CUBIN='"build/gpu/$*.cubin"' -DTW_PTX='"build/gpu/$*.ptx"' $(gpu_image_source) -o $@

-include $(call find_files,build/gpu,*.d)

# ---- What the host side is told ---------------------------------------------------------------------
target_defines := -DTW_BUILT_TARGETS='"$(strip $(cpu_targets) $(gpu_targets))"' \
  $(foreach t,$(cpu_targets) $(gpu_targets),-DTW_BUILT_$(shell echo $(t) | tr a-z A-Z)=1)
