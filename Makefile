# tilewire. `make help` lists the targets. Each folder's rules stand in its own .mk file; this file
# holds the toolchain, the flags and what a build is called.
#
#   CXX=clang++      another compiler; builds in build/clang++
#   VARIANT=tsan     a sanitizer build (tsan, asan = address + undefined, fuzz); builds in build/tsan
#   OPT=-O0          another level of optimisation, for builds that only have to compile
#   T=<stem>         with check: build and run one stem
#   PREFIX=<dir>     with install

MAKEFLAGS += --no-builtin-rules
comma := ,
.SUFFIXES:
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

ifeq ($(origin CXX),default)
CXX := g++
endif
VARIANT ?=
PREFIX ?= /usr/local
PYTHON ?= python3

# ---- Where things go: build/, build/<compiler>/, build/<compiler>/<variant>/ ------------------------
compiler_folder := $(if $(filter g++ c++,$(CXX)),,/$(notdir $(CXX)))
B := build$(compiler_folder)$(addprefix /,$(VARIANT))

# ---- Compiler and machine ---------------------------------------------------------------------------
is_clang := $(findstring clang,$(CXX))
machine := $(firstword $(subst -, ,$(shell $(CXX) -dumpmachine 2>/dev/null)))
CC := $(subst g++,gcc,$(subst clang++,clang,$(CXX)))
ccache := $(if $(NO_CCACHE),,$(shell command -v ccache 2>/dev/null))
compile_cxx := $(ccache) $(CXX)
compile_c := $(ccache) $(CC)

version := $(shell sed -n 's/^.define TW_VERSION_\(MAJOR\|MINOR\|PATCH\) *\([0-9]*\).*/\2/p' include/tilewire.h | paste -sd.)
abi := $(firstword $(subst ., ,$(version)))

# ---- Flags ------------------------------------------------------------------------------------------
warnings := -Wall -Wextra -Werror
# Sanitizer builds are run once and not timed: their compile time counts for more.
optimise := $(or $(OPT),$(if $(VARIANT),-O1,-O2)) -g1
sanitize_tsan := -fsanitize=thread -DTW_SANITIZE_THREAD
# Enumerations come from C callers, who may pass any int: the library checks them itself.
sanitize_asan := -fsanitize=address,undefined -fno-sanitize=enum -fno-sanitize-recover=all -fno-omit-frame-pointer -DTW_SANITIZE_ADDRESS
sanitize_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=enum -fno-sanitize-recover=all -DTW_SANITIZE_ADDRESS -DTW_FUZZ
ifneq ($(VARIANT),)
ifeq ($(sanitize_$(VARIANT)),)
$(error VARIANT=$(VARIANT) is unknown; valid: tsan asan fuzz)
endif
endif
sanitize := $(sanitize_$(VARIANT))
# g++ 12 sees uninitialised values in instrumented std::optional and std::function that are not there.
warnings += $(if $(sanitize),$(if $(is_clang),,-Wno-maybe-uninitialized))

# Everything is built as for the shared library, so that one object serves it and the unit tests.
common_flags := $(optimise) $(warnings) -fPIC -fvisibility=hidden -pthread -I. -Iinclude -MMD -MP $(sanitize)
cxx_flags = -std=c++20 $(common_flags) $(CXXFLAGS)
c_flags = -std=c99 -pedantic $(common_flags) $(CFLAGS)
link_flags := -pthread -Wl,--as-needed -Wl,-z,relro $(if $(VARIANT),,-Wl,-z,defs) $(sanitize) $(LDFLAGS)
libs := -lsodium -lhwloc -lpthread -ldl

ifneq ($(filter aarch64-linux-gnu%,$(CXX)),)
include tests/arm64.mk
endif

# $(call remember,FILE,TEXT): FILE changes only when TEXT does, so that a rule can depend on TEXT.
remember = $(if $(subst x$(strip $(2)),,x$(strip $(file <$(1)))),$(shell mkdir -p $(dir $(1)))$(file >$(1),$(strip $(2))))

flags_file := $(B)/flags
$(call remember,$(flags_file),$(CXX) $(shell $(CXX) -dumpfullversion -dumpversion 2>/dev/null) $(cxx_flags) $(c_flags) $(link_flags) $(libs))

find_files = $(sort $(shell find $(1) -name '$(2)' 2>/dev/null))
quiet = @mkdir -p $(@D); echo "  $(1) $@";

include kernels/kernels.mk
include lib/lib.mk
include lib/vgpu/vgpu.mk
include lib/install/install.mk
include tests/tests.mk
include perf/perf.mk

# ---- Targets ----------------------------------------------------------------------------------------
.PHONY: help all clean format lint

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(filter %Makefile %.mk,$(MAKEFILE_LIST)) | expand -t 22

all: library programs gpu vgpu  ## the library, the programs, the examples and the perf programs
all: examples perf-programs $(if $(VARIANT),,perf-tools)

lint:  ## clang-format, clang-tidy, include arrows, budgets, contracts; cached by content
	@tests/tools/deps build lint
	@LINT_CXX="-std=c++20 -Wall -Wextra -I. -Iinclude $(MPI_CFLAGS) -DTW_BUILT_TARGETS='\"\"'" \
	  LINT_C="-std=c99 -pedantic -Wall -Wextra -I. -Iinclude $(MPI_CFLAGS)" \
	  LINT_KERNEL="$(arch_$(firstword $(cpu_targets))) $(call target_macro,$(firstword $(cpu_targets)))" \
	  $(PYTHON) tests/tools/lint

format:  ## clang-format all sources in place
	@git ls-files -co --exclude-standard '*.h' '*.c' '*.cc' '*.cu' | xargs -r clang-format -i

clean:  ## remove what was built (downloads in ~/.cache/tilewire stay)
	rm -rf build

-include $(call find_files,$(B)/obj,*.d)
