// Makes `ring_shift_kernel`, which tw_kernel_launch takes.
#include "ring_shift.h"

#define TW_KERNEL_ROWS "kernels.def"
#include "tilewire/kernels/table.h"
