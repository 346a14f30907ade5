# The virtual GPU (lib/vgpu): a libcuda.so.1 of its own, that executes PTX. Nothing of the library
# includes it or links it. Its driver's side needs the toolkit's cuda.h; without one it is skipped.

vgpu_cuda ?= $(firstword $(dir $(firstword $(wildcard /usr/local/cuda/include/cuda.h $(dir $(NVCC))../include/cuda.h /usr/local/include/cuda.h))))
vgpu_enabled := $(if $(filter x86_64,$(machine)),$(vgpu_cuda))

vgpu_sim_sources := $(sort $(wildcard $(addprefix lib/vgpu/,ptx/*.cc isa/*.cc sim/*.cc race/*.cc)))
vgpu_sim_objects := $(vgpu_sim_sources:%.cc=$(B)/obj/%.o)
vgpu_driver_objects := $(patsubst %.cc,$(B)/obj/%.o,$(sort $(wildcard lib/vgpu/driver/*.cc)))
vgpu_archive := $(B)/lib/libvgpu.a
vgpu_so := $(B)/lib/vgpu/libcuda.so.1
vgpu_tool := $(B)/bin/tw_vgpu

.PHONY: vgpu
vgpu: $(if $(vgpu_enabled),$(vgpu_so) $(vgpu_tool))
	$(if $(vgpu_enabled),,@echo "virtual GPU skipped: cuda.h (or an x86-64 machine) not found")

# Lanes are vectors: AVX2 and fused multiply-adds that PTX asks for, none that the compiler makes up.
# Integers wrap, and rounding modes are switched at run time. Sanitizers hide from g++ how far loops go.
vgpu_flags := $(or $(OPT),-O3) $(if $(is_clang),-Wno-pass-failed) -march=x86-64-v3 -mprefer-vector-width=256 -ffp-contract=off -fwrapv -fno-math-errno -fno-trapping-math $(if $(VARIANT),-Wno-array-bounds)
$(B)/obj/lib/vgpu/%.o: lib/vgpu/%.cc $(flags_file) lib/vgpu/vgpu.mk
	$(call quiet,CXX)$(compile_cxx) $(cxx_flags) $(vgpu_flags) $(if $(findstring /driver/,$@),-isystem $(vgpu_cuda) -fvisibility=default) -c $< -o $@

$(vgpu_archive): $(vgpu_sim_objects)
	$(call quiet,AR)rm -f $@; ar rcs $@ $^

$(vgpu_so): $(vgpu_driver_objects) $(vgpu_archive) lib/vgpu/driver/libcuda.map
	$(call quiet,SO)$(CXX) -shared $(link_flags) -Wl,-soname,libcuda.so.1 -Wl,--version-script=lib/vgpu/driver/libcuda.map $(vgpu_driver_objects) $(vgpu_archive) -lpthread -o $@
	@ln -sf libcuda.so.1 $(@D)/libcuda.so

$(vgpu_tool): $(B)/obj/lib/vgpu/tools/tw_vgpu.o $(vgpu_so)
	$(call quiet,LINK)$(CXX) $< $(link_flags) -o $@

# The tests' kernels as nvcc writes them, kept so that the tests need no nvcc.
vgpu_kernels := $(wildcard tests/vgpu/kernels/*.cu)
.PHONY: vgpu-fixtures
vgpu-fixtures: $(vgpu_kernels:tests/vgpu/kernels/%.cu=tests/fixtures/vgpu/%.ptx)  ## tests/fixtures/vgpu anew, by nvcc

tests/fixtures/vgpu/%.ptx: tests/vgpu/kernels/%.cu
	$(call quiet,NVCC)$(NVCC) -O3 -lineinfo -arch=$(if $(filter mma_gemm one_shot_all_reduce,$*),compute_80,compute_90a) -ptx $< -o $@ && sed -i 's|"$(CURDIR)/|"|' $@
