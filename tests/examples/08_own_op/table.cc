// Makes `router_kernel`, which tw_program_create takes.
#include "router.h"

#define TW_KERNEL_ROWS "kernels.def"
#include "tilewire/kernels/table.h"
