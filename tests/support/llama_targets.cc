#include "lib/device/kernels.h"
#include "tests/support/program_ranks.h"

namespace tw::test {

std::vector<EntryOfTarget> llama_targets() {
  std::vector<EntryOfTarget> targets;
  for (int t = 0; t < kCpuTargets; ++t)
    if (kernels::llama.cpu[t] != nullptr && cpu_runs(static_cast<CpuTarget>(t)))
      targets.push_back({cpu_target_name(static_cast<CpuTarget>(t)), kernels::llama.cpu[t]});
#if defined(TW_SANITIZE_THREAD)
  targets.resize(1);  // the protocols are the same for all targets
#endif
  return targets;
}

}  // namespace tw::test
