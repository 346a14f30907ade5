// The kernel of tests/support/llama_ops.cu on each target.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/device/device.h"

namespace tw::test {

/// Its op types.
enum class OpKind : uint32_t { kEmbed, kPlace, kGather, kSampleLocal, kSample };

struct OpTarget {
  std::string name;
  CpuEntry entry;
};
/// The targets of this build that run here, best first.
std::vector<OpTarget> llama_op_targets();

}  // namespace tw::test
