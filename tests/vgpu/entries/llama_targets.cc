// In place of tests/support/llama_targets.cc: the tests of Llama ops run on GPUs.
#include "tests/support/program_ranks.h"
#include "tests/vgpu/entries/gpu_entries.h"

namespace tw::test {

std::vector<EntryOfTarget> llama_targets() {
  std::vector<EntryOfTarget> targets;
  for (const GpuEntries& entries : gpu_entries()) targets.push_back({entries.name, entries.llama});
  return targets;
}

}  // namespace tw::test
