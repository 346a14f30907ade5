// tests/support/attention_program.cu as cpu_amx runs it, over the emulated tile instructions.
#define TW_NS tw::cpu_amx_emulated
#define TW_TARGET_CPU_AMX

// The emulation comes before what includes the compiler's own.
// clang-format off
#include "tests/support/amx_emulation.h"
#include "tests/support/attention_program.cu"
// clang-format on
