#include "lib/device/gpu_images.h"

// Weak: a program that links the archive without the images' objects has none of them (70 MB).
#define TW_SYMBOL extern "C" [[gnu::weak, gnu::visibility("hidden")]] const char
#define TW_DECLARE(name, target)                    \
  TW_SYMBOL tw_gpu_##name##_##target##_cubin[];     \
  TW_SYMBOL tw_gpu_##name##_##target##_cubin_end[]; \
  TW_SYMBOL tw_gpu_##name##_##target##_ptx[];
#define TW_BUILT(name, target)                                     \
  {                                                                \
    tw_gpu_##name##_##target##_cubin,                              \
        static_cast<size_t>(tw_gpu_##name##_##target##_cubin_end - \
                            tw_gpu_##name##_##target##_cubin),     \
        tw_gpu_##name##_##target##_ptx                             \
  }
#define TW_NOT_BUILT \
  { nullptr, 0, nullptr }

#if defined(TW_BUILT_SM_90A)
#define TW_KERNEL_ROW(name, Args) TW_DECLARE(name, sm_90a)
#include "kernels/kernels.def"
#include "kernels/program_kernels.def"
#include "kernels/tile_kernels.def"
#undef TW_KERNEL_ROW
#define TW_SM_90A(name) TW_BUILT(name, sm_90a)
#else
#define TW_SM_90A(name) TW_NOT_BUILT
#endif

#if defined(TW_BUILT_SM_80)
#define TW_KERNEL_ROW(name, Args) TW_DECLARE(name, sm_80)
#include "kernels/kernels.def"
#include "kernels/program_kernels.def"
#include "kernels/tile_kernels.def"
#undef TW_KERNEL_ROW
#define TW_SM_80(name) TW_BUILT(name, sm_80)
#else
#define TW_SM_80(name) TW_NOT_BUILT
#endif

namespace tw::gpu_images {

#define TW_KERNEL_ROW(name, Args) \
  const GpuImage name[kGpuTargets] = {TW_SM_90A(name), TW_SM_80(name)};
#include "kernels/kernels.def"
#include "kernels/program_kernels.def"
#include "kernels/tile_kernels.def"
#undef TW_KERNEL_ROW

}  // namespace tw::gpu_images
