// 03: a kernel of your own, with windows and signals. Three launches, no value set between them.
//
//   cmake -S . -B build && cmake --build build && tw_run -n 4 build/ring_shift
#include <cstdio>
#include <vector>

#include "ring_shift.h"
#include "tilewire.h"

extern "C++" const tw_kernel_t ring_shift_kernel;  // table.cc

namespace {

constexpr size_t kBytes = 100000;
constexpr int kMaxBlocks = 64;

#define CHECK(call)                                             \
  do {                                                          \
    if ((call) != TW_OK) {                                      \
      std::fprintf(stderr, "%s: %s\n", #call, tw_last_error()); \
      return 1;                                                 \
    }                                                           \
  } while (0)

}  // namespace

int main() {
  tw_comm_t comm;
  CHECK(tw_comm_create_env(nullptr, &comm));
  int rank, size;
  CHECK(tw_comm_rank(comm, &rank));
  CHECK(tw_comm_size(comm, &size));

  tw_window_t window;
  tw_signals_t signals;
  CHECK(tw_window_create(comm, 2 * kBytes, &window));
  CHECK(tw_signals_create(comm, 2 * kMaxBlocks, &signals));
  RingShiftArgs args = {};
  CHECK(tw_window_get_view(window, &args.window));
  CHECK(tw_signals_get_view(signals, &args.signals));
  args.bytes = kBytes;
  void* memory;
  CHECK(tw_window_ptr(window, rank, &memory));
  unsigned char* const bytes = static_cast<unsigned char*>(memory);
  for (size_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<unsigned char>(7 * i + rank);

  // After k launches everybody holds what the rank k to the left began with.
  for (int launch = 1; launch <= 3; ++launch) {
    CHECK(tw_kernel_launch(&ring_shift_kernel, comm, &args, sizeof args, 2, nullptr));
    const int from = ((rank - launch) % size + size) % size;
    for (size_t i = 0; i < kBytes; ++i) {
      const unsigned char got = bytes[kBytes + i];
      if (got != static_cast<unsigned char>(7 * i + from)) {
        std::fprintf(stderr, "launch %d: byte %zu is %d\n", launch, i, got);
        return 1;
      }
      bytes[i] = got;
    }
  }
  std::printf("rank %d of %d: three shifts of %zu bytes, all right\n", rank, size, kBytes);
  CHECK(tw_signals_destroy(signals));
  CHECK(tw_window_destroy(window));
  CHECK(tw_comm_destroy(comm));
  return 0;
}
