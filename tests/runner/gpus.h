// GPUs for tests of the library: those of this machine's driver where it has one, else virtual ones
// (lib/vgpu). Ranks take them in order, so a test needs as many as it has ranks.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "lib/device/gpu/driver.h"

namespace tw::test {

/// Makes GPUs visible to the library, once a process: loads the virtual GPUs' driver, which every
/// later dlopen of libcuda.so.1 then finds. "" or why there are none for `ranks`.
std::string find_gpus(int ranks);

/// The first half of it, for a parent whose children find GPUs: loads the driver and does not start
/// it. "" or why there are none.
std::string load_gpus();

/// Skips a test that there are no GPUs, or no GPU kernels in this build, for.
#define TW_NEED_GPUS(ranks)                                \
  do {                                                     \
    const std::string why_ = ::tw::test::find_gpus(ranks); \
    if (!why_.empty()) GTEST_SKIP() << why_;               \
  } while (false)

/// What a test does with the memory of a GPU and with its streams, by the driver.
class Gpu {
 public:
  /// `ordinal`'s primary context.
  explicit Gpu(int ordinal);
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;
  ~Gpu();

  int ordinal() const { return ordinal_; }
  void* allocate(size_t bytes);
  void free(void* memory);
  void write(void* to, const void* from, size_t bytes);
  void read(void* to, const void* from, size_t bytes);
  void* create_stream();
  void destroy_stream(void* stream);
  /// Returns when what was queued is done. Null: the default stream.
  void synchronize(void* stream = nullptr);

  /// What is queued on `stream` between the two becomes a graph, which does not run.
  void begin_capture(void* stream);
  void* end_capture(void* stream);
  void launch_graph(void* graph, void* stream);
  void destroy_graph(void* graph);

 private:
  const gpu::Driver& driver_;
  const int ordinal_;
  gpu::Context context_ = nullptr;
};

}  // namespace tw::test
