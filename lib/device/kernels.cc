#include "lib/device/kernels.h"

#include "lib/device/gpu_images.h"
#include "tilewire/kernels/coll.h"
#include "tilewire/kernels/gemm.h"
#include "tilewire/kernels/pack.h"
#include "tilewire/kernels/program.h"
#include "tilewire/kernels/signal.h"

// The entries, as TW_KERNEL defines them for each target.
#define TW_KERNEL_ROW(name, Args) void name##_entry(const void* args, int block, int blocks);
#if defined(TW_BUILT_CPU_AMX)
namespace tw::cpu_amx {
#include "kernels/program_kernels.def"
#include "kernels/tile_kernels.def"
}  // namespace tw::cpu_amx
#define TW_ENTRY_AMX(name) cpu_amx::name##_entry
#else
#define TW_ENTRY_AMX(name) nullptr
#endif
#if defined(TW_BUILT_CPU_AVX512_BF16)
namespace tw::cpu_avx512_bf16 {
#include "kernels/program_kernels.def"
#include "kernels/tile_kernels.def"
}  // namespace tw::cpu_avx512_bf16
#define TW_ENTRY_AVX512_BF16(name) cpu_avx512_bf16::name##_entry
#else
#define TW_ENTRY_AVX512_BF16(name) nullptr
#endif
#if defined(TW_BUILT_CPU_AVX512)
namespace tw::cpu_avx512 {
#include "kernels/kernels.def"
#include "kernels/program_kernels.def"
#include "kernels/tile_kernels.def"
}  // namespace tw::cpu_avx512
#define TW_ENTRY_AVX512(name) cpu_avx512::name##_entry
#else
#define TW_ENTRY_AVX512(name) nullptr
#endif
#if defined(TW_BUILT_CPU_AVX2)
namespace tw::cpu_avx2 {
#include "kernels/kernels.def"
#include "kernels/program_kernels.def"
#include "kernels/tile_kernels.def"
}  // namespace tw::cpu_avx2
#define TW_ENTRY_AVX2(name) cpu_avx2::name##_entry
#else
#define TW_ENTRY_AVX2(name) nullptr
#endif
namespace tw::cpu_portable {
#include "kernels/kernels.def"
#include "kernels/program_kernels.def"
#include "kernels/tile_kernels.def"
}  // namespace tw::cpu_portable
#undef TW_KERNEL_ROW

namespace tw::kernels {

#define TW_KERNEL_ROW(name, Args)                                                                 \
  const KernelImage name = {                                                                      \
      #name,                                                                                      \
      {nullptr, nullptr, TW_ENTRY_AVX512(name), TW_ENTRY_AVX2(name), cpu_portable::name##_entry}, \
      sizeof(Args),                                                                               \
      gpu_images::name,                                                                           \
      false};
#include "kernels/kernels.def"
#undef TW_KERNEL_ROW

#define TW_KERNEL_ROW(name, Args)                                                                  \
  const KernelImage name = {                                                                       \
      #name,                                                                                       \
      {TW_ENTRY_AMX(name), TW_ENTRY_AVX512_BF16(name), TW_ENTRY_AVX512(name), TW_ENTRY_AVX2(name), \
       cpu_portable::name##_entry},                                                                \
      sizeof(Args),                                                                                \
      gpu_images::name,                                                                            \
      true};
#include "kernels/program_kernels.def"
#include "kernels/tile_kernels.def"
#undef TW_KERNEL_ROW

}  // namespace tw::kernels
