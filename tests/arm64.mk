# CXX=aarch64-linux-gnu-g++: the portable target for arm64, to be run under qemu-user (check-long).
# Libraries come from tests/tools/arm64_sysroot, GoogleTest is compiled from Debian's source.

arm64_root := $(shell tests/tools/arm64_sysroot 2>/dev/null)
ifeq ($(arm64_root),)
$(error no arm64 libraries: tests/tools/arm64_sysroot says why)
endif
gtest_source := /usr/src/googletest/googletest
arm64_lib := $(arm64_root)/usr/lib/aarch64-linux-gnu
common_flags += -isystem $(arm64_root)/usr/include -isystem $(arm64_root)/usr/include/aarch64-linux-gnu -isystem $(gtest_source)/include
link_flags += -L$(arm64_lib) -Wl,-rpath-link,$(arm64_lib):$(arm64_root)/lib/aarch64-linux-gnu
MPI_CFLAGS :=
MPI_LIBS :=
NVCC :=
GTEST_LIBS := $(B)/tests/libgtest.a

$(B)/obj/gtest/%.o: $(gtest_source)/src/%.cc
	$(call quiet,CXX)$(CXX) -std=c++20 -O1 -pthread -I$(gtest_source) -I$(gtest_source)/include -c $< -o $@

$(GTEST_LIBS): $(B)/obj/gtest/gtest-all.o $(B)/obj/gtest/gtest_main.o
	$(call quiet,AR)rm -f $@; ar rcs $@ $^
