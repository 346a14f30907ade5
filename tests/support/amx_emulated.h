// The tile programs as cpu_amx runs them, over the emulated tile instructions (amx_emulation.h).
#pragma once

namespace tw::cpu_amx_emulated {

#define TW_KERNEL_ROW(name, Args) void name##_entry(const void* args, int block, int blocks);
#include "kernels/tile_kernels.def"
#undef TW_KERNEL_ROW

}  // namespace tw::cpu_amx_emulated
