#include "lib/program/conflicts.h"

namespace tw {

Conflicts::Conflicts(const Program& program)
    : program_(program), pasts_(static_cast<size_t>(program.devices) * program.tensors.size()) {}

std::vector<Conflicts::Past>& Conflicts::pasts_of(const Region& region) {
  return pasts_[static_cast<size_t>(region.device) * program_.tensors.size() +
                static_cast<size_t>(region.tensor)];
}

void Conflicts::take(int instruction, int launch,
                     const std::function<void(int instruction, int launch)>& found) {
  const std::vector<Access>& own = program_.instructions[static_cast<size_t>(instruction)].accesses;
  for (const Access& access : own)
    for (const Past& past : pasts_of(access.region))
      if ((access.writes || past.access.writes) && access.region.overlaps(past.access.region))
        found(past.instruction, past.launch);
  for (const Access& access : own)
    if (access.writes) forget_written(access.region);
  for (const Access& access : own) pasts_of(access.region).push_back({access, instruction, launch});
}

void Conflicts::forget_written(const Region& region) {
  std::vector<Past>& pasts = pasts_of(region);
  std::vector<Past> second;
  size_t kept = 0;
  for (size_t i = 0; i < pasts.size(); ++i) {
    if (kept != i) pasts[kept] = pasts[i];
    Region& rest = pasts[kept].access.region;
    if (rest.overlaps(region)) {
      const auto parts = rest.without(region);
      rest = parts[0];
      if (!parts[1].empty()) {
        second.push_back(pasts[kept]);
        second.back().access.region = parts[1];
      }
    }
    if (!rest.empty()) ++kept;
  }
  pasts.resize(kept);
  pasts.insert(pasts.end(), second.begin(), second.end());
}

}  // namespace tw
