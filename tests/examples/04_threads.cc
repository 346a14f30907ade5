// 04: threads as ranks, from C++: no launcher, no environment.
//
//   build/examples/04_threads
#include <cstdio>
#include <thread>
#include <vector>

#include "tilewire/cpp.h"

namespace {

constexpr int kRanks = 3;
constexpr size_t kCount = 1000;

/// What one rank does: the mean of all ranks' values, in a window, in place.
bool run(const tw::cpp::Comm& comm) {
  const int rank = comm.rank();
  const tw::cpp::Window<float> window(comm.get(), kCount);
  float* const values = window.at(rank);
  for (size_t i = 0; i < kCount; ++i) values[i] = static_cast<float>(i) + 10.0f * rank;
  tw::cpp::check(tw_all_reduce(values, values, kCount, TW_FP32, TW_AVG, comm.get(), nullptr));
  for (size_t i = 0; i < kCount; ++i)
    if (values[i] != static_cast<float>(i) + 10.0f) return false;
  return true;
}

}  // namespace

int main() {
  try {
    const std::vector<tw::cpp::Comm> comms = tw::cpp::Comm::create_all(kRanks);
    bool good[kRanks] = {};
    std::vector<std::thread> threads;
    for (int rank = 0; rank < kRanks; ++rank)
      threads.emplace_back([&, rank] { good[rank] = run(comms[static_cast<size_t>(rank)]); });
    for (std::thread& thread : threads) thread.join();
    for (int rank = 0; rank < kRanks; ++rank)
      std::printf("rank %d: %s\n", rank, good[rank] ? "the mean is right" : "WRONG");
    return good[0] && good[1] && good[2] ? 0 : 1;
  } catch (const tw::cpp::Failure& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 1;
  }
}
