#include "tests/support/llama_ops.h"

#include "tilewire/kernels/program.h"

#define TW_KERNEL_ROWS "tests/support/llama_ops.def"
using tw::ProgramArgs;
#include "tilewire/kernels/table.h"

namespace tw::test {

std::vector<OpTarget> llama_op_targets() {
  const tw_kernel_t& kernel = llama_ops_kernel;
  const CpuEntry entries[kCpuTargets] = {kernel.cpu_wide[0], kernel.cpu_wide[1], kernel.cpu[0],
                                         kernel.cpu[1], kernel.cpu[2]};
  std::vector<OpTarget> targets;
  for (int t = 0; t < kCpuTargets; ++t)
    if (entries[t] != nullptr && cpu_runs(static_cast<CpuTarget>(t)))
      targets.push_back({cpu_target_name(static_cast<CpuTarget>(t)), entries[t]});
  return targets;
}

}  // namespace tw::test
