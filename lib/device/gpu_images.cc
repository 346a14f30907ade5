#include "lib/device/gpu_images.h"

#if defined(TW_BUILT_SM_90A)
#define TW_KERNEL_ROW(name, Args)                           \
  extern "C" const char tw_gpu_##name##_sm_90a_cubin[];     \
  extern "C" const char tw_gpu_##name##_sm_90a_cubin_end[]; \
  extern "C" const char tw_gpu_##name##_sm_90a_ptx[];
#include "kernels/kernels.def"
#undef TW_KERNEL_ROW
#define TW_SM_90A(name)                                                                       \
  {                                                                                           \
    tw_gpu_##name##_sm_90a_cubin,                                                             \
        static_cast<size_t>(tw_gpu_##name##_sm_90a_cubin_end - tw_gpu_##name##_sm_90a_cubin), \
        tw_gpu_##name##_sm_90a_ptx                                                            \
  }
#else
#define TW_SM_90A(name) \
  { nullptr, 0, nullptr }
#endif

namespace tw::gpu_images {

#define TW_KERNEL_ROW(name, Args) const GpuImage name[kGpuTargets] = {TW_SM_90A(name)};
#include "kernels/kernels.def"
#undef TW_KERNEL_ROW

}  // namespace tw::gpu_images
