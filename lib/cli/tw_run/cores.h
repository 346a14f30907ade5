// Cores of the affinity mask, for --bind core.
#pragma once

#include <sched.h>

#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace tw::run {

/// The cores that this process may use, each with its hardware threads within the affinity mask, in
/// the order of their first thread. Where the system does not tell, each thread is a core.
inline std::vector<cpu_set_t> cores_of_mask() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  sched_getaffinity(0, sizeof mask, &mask);
  std::vector<cpu_set_t> cores;
  std::map<std::pair<int, int>, size_t> known;  // (package, core) -> index
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    int package = -1, core = -1;
    std::ifstream(folder + "physical_package_id") >> package;
    if (!(std::ifstream(folder + "core_id") >> core)) package = -1 - cpu;
    const auto [at, is_new] = known.emplace(std::pair(package, core), cores.size());
    if (is_new) {
      cores.emplace_back();
      CPU_ZERO(&cores.back());
    }
    CPU_SET(cpu, &cores[at->second]);
  }
  return cores;
}

}  // namespace tw::run
