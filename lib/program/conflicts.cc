#include "lib/program/conflicts.h"

#include <algorithm>

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
  for (const Access& access : own) {
    if (!access.writes) continue;
    std::vector<Past>& pasts = pasts_of(access.region);
    pasts.erase(
        std::remove_if(pasts.begin(), pasts.end(),
                       [&](const Past& past) { return access.region.covers(past.access.region); }),
        pasts.end());
  }
  for (const Access& access : own) pasts_of(access.region).push_back({access, instruction, launch});
}

}  // namespace tw
