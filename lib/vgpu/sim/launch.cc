#include "lib/vgpu/sim/launch.h"

#include <algorithm>

namespace tw::vgpu {

int blocks_per_sm(const Program& program, uint64_t threads, uint32_t dynamic_shared) {
  const uint64_t shared = uint64_t{program.shared_bytes} + dynamic_shared + kReservedShared;
  if (threads == 0 || threads > 1024 || shared > kSmShared) return 0;
  const uint64_t rounded = (threads + 31) / 32 * 32;
  uint64_t blocks = std::min<uint64_t>({kSmThreads / rounded, kSmShared / shared, kSmBlocks});
  if (program.min_blocks > 0) blocks = std::min<uint64_t>(blocks, program.min_blocks);
  return static_cast<int>(blocks);
}

}  // namespace tw::vgpu
