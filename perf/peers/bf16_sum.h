// The sum of bf16 arrays as an MPI user function sees it: inout[i] = round(in[i] + inout[i]).
// Vectorised as far as the machine goes, because a scalar loop would flatter us: AVX-512 BF16, else
// AVX-512F or AVX2 with integer rounding. NaNs are not preserved (the benchmark has none).
#pragma once

#include <cstddef>
#include <cstdint>

namespace tw::perf {

using Bf16Sum = void (*)(const uint16_t* in, uint16_t* inout, size_t count);

// The best loop for this machine, and its name.
Bf16Sum choose_bf16_sum(const char** name);

}  // namespace tw::perf
