#include "tests/support/amx_emulated.h"

#define TW_NS tw::cpu_amx_emulated
#define TW_TARGET_CPU_AMX

// The emulation comes before what includes the compiler's own.
// clang-format off
#include "tests/support/amx_emulation.h"
#include "kernels/gemm/all_gather_gemm.cu"
#include "kernels/gemm/gemm.cu"
#include "kernels/gemm/gemm_all_reduce.cu"
#include "kernels/gemm/gemm_all_to_all.cu"
#include "kernels/gemm/gemm_reduce_scatter.cu"
#include "kernels/norm/all_reduce_residual_rms_norm.cu"
#include "kernels/norm/row_epilogue.cu"
// clang-format on
