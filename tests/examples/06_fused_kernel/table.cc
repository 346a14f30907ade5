// Makes `gemm_bias_gelu_kernel`, which tw_kernel_launch takes.
#include "gemm_bias_gelu.h"

#define TW_KERNEL_ROWS "kernels.def"
#include "tilewire/kernels/table.h"
