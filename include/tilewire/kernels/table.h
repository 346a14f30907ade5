// Kernels outside the library's tree: what tw_kernel_launch takes.
//
// A kernel file `ring.cu` is compiled once per CPU target, as C++20, with
//     -x c++ -DTW_NS=tw::<target> -DTW_TARGET_<TARGET> and the target's -march
// and by nvcc for sm_90a and sm_80; CMake's tilewire_add_kernel and pkg-config's variables know the
// flags. A plain C++ file then makes the table, from rows of the user's own:
//
//     // kernels.def
//     TW_KERNEL_ROW(ring, RingArgs)
//
//     // table.cc
//     #include "ring.h"                     // RingArgs
//     #define TW_KERNEL_ROWS "kernels.def"
//     #include <tilewire/kernels/table.h>   // defines `const tw_kernel_t ring_kernel` for each row
//
// Targets that were not built are left null: their entries are weak references. A file that also
// defines kernels of the table includes this header before them.
#ifndef TILEWIRE_KERNELS_TABLE_H_
#define TILEWIRE_KERNELS_TABLE_H_

#include <stddef.h>
#include <stdint.h>

#include "tilewire.h"
#include "tilewire/tile/comm_view.h"

struct tw_kernel {
  size_t size;       // of this struct, as the kernel's build saw it
  uint32_t version;  // tw::kCommLayoutVersion of that build
  const char* name;
  size_t args_bytes;
  // By target: cpu_avx512, cpu_avx2, cpu_portable. Null = not built.
  void (*cpu[3])(const void* args, int block, int blocks);
  // sm_90a: the cubin, and NUL-terminated compute_90a PTX. Null = not built.
  const unsigned char* cubin;
  size_t cubin_bytes;
  const char* ptx;
  // cpu_amx, cpu_avx512_bf16: targets that exist for matrix multiplication. Null = not built.
  void (*cpu_wide[2])(const void* args, int block, int blocks);
  // sm_80: the cubin, and compute_80 PTX, which every other GPU runs. Null = not built.
  const unsigned char* cubin_sm_80;
  size_t cubin_sm_80_bytes;
  const char* ptx_sm_80;
};

#endif  // TILEWIRE_KERNELS_TABLE_H_

#if defined(TW_KERNEL_ROWS)

#define TW_KERNEL_ROW(name, Args) \
  [[gnu::weak]] void name##_entry(const void* args, int block, int blocks);
namespace tw::cpu_avx512 {
#include TW_KERNEL_ROWS
}
namespace tw::cpu_avx2 {
#include TW_KERNEL_ROWS
}
namespace tw::cpu_portable {
#include TW_KERNEL_ROWS
}
namespace tw::cpu_amx {
#include TW_KERNEL_ROWS
}
namespace tw::cpu_avx512_bf16 {
#include TW_KERNEL_ROWS
}
#undef TW_KERNEL_ROW

// The GPU images, from gpu_image.S.
#define TW_KERNEL_ROW(name, Args)                                                  \
  extern "C" [[gnu::weak]] const unsigned char tw_gpu_##name##_sm_90a_cubin[];     \
  extern "C" [[gnu::weak]] const unsigned char tw_gpu_##name##_sm_90a_cubin_end[]; \
  extern "C" [[gnu::weak]] const char tw_gpu_##name##_sm_90a_ptx[];                \
  extern "C" [[gnu::weak]] const unsigned char tw_gpu_##name##_sm_80_cubin[];      \
  extern "C" [[gnu::weak]] const unsigned char tw_gpu_##name##_sm_80_cubin_end[];  \
  extern "C" [[gnu::weak]] const char tw_gpu_##name##_sm_80_ptx[];
#include TW_KERNEL_ROWS
#undef TW_KERNEL_ROW

#define TW_KERNEL_ROW(name, Args)                                                                 \
  extern const tw_kernel_t name##_kernel;                                                         \
  const tw_kernel_t name##_kernel = {                                                             \
      sizeof(tw_kernel_t),                                                                        \
      tw::kCommLayoutVersion,                                                                     \
      #name,                                                                                      \
      sizeof(Args),                                                                               \
      {tw::cpu_avx512::name##_entry, tw::cpu_avx2::name##_entry, tw::cpu_portable::name##_entry}, \
      tw_gpu_##name##_sm_90a_cubin,                                                               \
      static_cast<size_t>(tw_gpu_##name##_sm_90a_cubin_end - tw_gpu_##name##_sm_90a_cubin),       \
      tw_gpu_##name##_sm_90a_ptx,                                                                 \
      {tw::cpu_amx::name##_entry, tw::cpu_avx512_bf16::name##_entry},                             \
      tw_gpu_##name##_sm_80_cubin,                                                                \
      static_cast<size_t>(tw_gpu_##name##_sm_80_cubin_end - tw_gpu_##name##_sm_80_cubin),         \
      tw_gpu_##name##_sm_80_ptx};
#include TW_KERNEL_ROWS
#undef TW_KERNEL_ROW
#undef TW_KERNEL_ROWS

#endif  // TW_KERNEL_ROWS
