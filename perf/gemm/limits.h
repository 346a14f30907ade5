// What the machine allows, measured now: the rate at which cores read memory that no cache holds,
// and at which one multiplies bf16 matrices that lie in its L1 cache.
#pragma once

namespace tw::perf {

// GB/s of `threads` threads, a core each, reading at the same time: the best of several ways to
// read (the best one is found in the first call).
double dram_read_gbs(int threads);

// TFLOP/s of one core on bf16 operands: AMX tiles, vdpbf16ps, or fp32 FMA, the best that it has.
double multiply_tflops();

}  // namespace tw::perf
