// What a rank does around a call: produces its input, consumes its output, reads the clock. The
// same code runs for tilewire and for every peer.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <vector>

namespace tw::perf {

inline double now_us() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) * 1e-3;
}

constexpr double kBatchMicroseconds = 2000;

double median(std::vector<double> values);

// The byte that `rank` fills its input with in iteration `i`: never zero, and a normal number in
// every type (0x38 repeated is 4.4e-5 in fp32 and bf16, 0.53 in fp16, 1 in fp8_e4m3).
inline unsigned char fill_byte(int rank, int i) {
  return static_cast<unsigned char>(0x38 + (rank & 3) + (i & 1) * 4);
}
void fill(void* p, size_t bytes, unsigned char byte);

// Reads every cache line.
void touch(const void* p, size_t bytes);

// Zeroed, 2 MiB aligned, huge pages asked for; std::free takes it. Throws std::bad_alloc.
char* allocate_private(size_t bytes);

struct FreePrivate {
  void operator()(char* at) const { std::free(at); }
};
using Private = std::unique_ptr<char, FreePrivate>;

}  // namespace tw::perf
