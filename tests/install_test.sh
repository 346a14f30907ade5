#!/bin/bash
# make install, then: the tree is moved, and foreign projects build and run against where it is now.
. tests/tools/tap.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
first=$work/first
prefix=$work/moved
here=$PWD

check "make install" make --no-print-directory install PREFIX="$first"
mv "$first" "$prefix"

has() { [ -e "$prefix/$1" ] || { echo "no $1"; return 1; }; }
for file in lib/libtilewire.so lib/libtilewire.so.0 include/tilewire.h include/tilewire/model.h include/tilewire/program.h \
  bin/tw_info bin/tw_run bin/tw_generate bin/tw_perplexity \
  lib/pkgconfig/tilewire.pc lib/cmake/tilewire/tilewireConfig.cmake; do
  check "installed: $file" has "$file"
done
same_headers() { diff -r -x README.md include "$prefix/include"; }
check "all public headers are installed" same_headers
no_build_paths() { ! grep -rlF -e "$here" -e "$first" "$prefix/lib/pkgconfig" "$prefix/lib/cmake"; }
check "pkg-config and CMake files name no folder of the build" no_build_paths
no_build_rpath() { ! readelf -dW "$prefix"/bin/* "$prefix/lib/libtilewire.so" | grep -E "R(UN)?PATH" | grep -F "$here"; }
check "no program looks for libraries in the build folder" no_build_rpath
check "the moved tw_info runs" "$prefix/bin/tw_info"

# ---- pkg-config: a C program, and a kernel compiled once for each target --------------------------------
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
flags() { pkg-config --cflags --libs tilewire; }
build_c() {
  # shellcheck disable=SC2046
  gcc -std=c99 -pedantic -Wall -Wextra -Werror tests/examples/02_all_reduce.c -o "$work/all_reduce" \
    $(flags) -Wl,-rpath,"$prefix/lib"
}
check "example 02 builds with pkg-config" build_c
check "it runs" "$prefix/bin/tw_run" -n 2 "$work/all_reduce"
check "it uses the installed library" bash -c "ldd $work/all_reduce | grep -q $prefix/lib"

build_kernel() {
  local target objects=() from=tests/examples/03_user_kernel
  for target in $(pkg-config --variable=kernel_targets tilewire); do
    # shellcheck disable=SC2046
    g++ -std=c++20 $(pkg-config --cflags tilewire) $(pkg-config --variable=kernel_flags tilewire) \
      $(pkg-config --variable="kernel_flags_$target" tilewire) -I$from -x c++ -c $from/ring_shift.cu \
      -o "$work/$target.o" || return 1
    objects+=("$work/$target.o")
  done
  # shellcheck disable=SC2046
  g++ -std=c++20 -I$from $from/main.cc $from/table.cc "${objects[@]}" -o "$work/ring_shift" $(flags) \
    -Wl,-rpath,"$prefix/lib"
}
check "example 03 builds with pkg-config for every CPU target" build_kernel
check "it runs" "$prefix/bin/tw_run" -n 2 "$work/ring_shift"

# ---- CMake -----------------------------------------------------------------------------------------
configure() { cmake -S tests/examples/05_cmake -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix"; }
check "example 05 configures" configure
check "example 05 builds" cmake --build "$work/cmake"
check "example 05 runs" "$prefix/bin/tw_run" -n 2 "$work/cmake/sum"
configure_kernel() { cmake -S tests/examples/03_user_kernel -B "$work/kernel" -DCMAKE_PREFIX_PATH="$prefix"; }
check "example 03, a user's own kernel, configures" configure_kernel
check "example 03 builds" cmake --build "$work/kernel"
check "example 03 runs" "$prefix/bin/tw_run" -n 3 "$work/kernel/ring_shift"
gpu_image() { nm "$work/kernel/ring_shift" | grep -q tw_gpu_ring_shift_sm_90a_cubin; }
if command -v nvcc > /dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
  check "example 03 holds its GPU image" gpu_image
fi
configure_fused() { cmake -S tests/examples/06_fused_kernel -B "$work/fused" -DCMAKE_PREFIX_PATH="$prefix"; }
check "example 06, a fused kernel of a user's own, configures" configure_fused
check "example 06 builds" cmake --build "$work/fused"
for ranks in 1 2 3; do
  check "example 06 runs on $ranks ranks" "$prefix/bin/tw_run" -n $ranks "$work/fused/gemm_bias_gelu"
done
for target in cpu_avx2 cpu_portable; do
  check "example 06 runs on $target" env TW_DEVICE_TARGET=$target "$prefix/bin/tw_run" -n 2 "$work/fused/gemm_bias_gelu"
done
if command -v nvcc > /dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
  for image in sm_90a sm_80; do
    holds_image() { nm "$work/fused/gemm_bias_gelu" | grep -q "tw_gpu_gemm_bias_gelu_${image}_cubin"; }
    check "example 06 holds its $image image" holds_image
  done
fi
configure_own_op() { cmake -S tests/examples/08_own_op -B "$work/own_op" -DCMAKE_PREFIX_PATH="$prefix"; }
check "example 08, a user's own instruction in a program, configures" configure_own_op
check "example 08 builds" cmake --build "$work/own_op"
for ranks in 1 2 3; do
  check "example 08 runs on $ranks ranks" "$prefix/bin/tw_run" -n $ranks "$work/own_op/own_op"
done
for target in cpu_avx2 cpu_portable; do
  check "example 08 runs on $target" env TW_DEVICE_TARGET=$target "$prefix/bin/tw_run" -n 2 "$work/own_op/own_op"
done
too_new() { ! cmake -S tests/examples/05_cmake -B "$work/new" -DCMAKE_PREFIX_PATH="$prefix" -DWANT=1.0; }
check "a newer version than the installed one is refused" too_new

# ---- Cleanly gone ----------------------------------------------------------------------------------
check "DESTDIR stages" make --no-print-directory install DESTDIR="$work/stage" PREFIX=/usr
check "the staged library is under usr/lib" test -e "$work/stage/usr/lib/libtilewire.so"
finish
