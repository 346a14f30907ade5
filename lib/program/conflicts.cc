#include "lib/program/conflicts.h"

namespace tw {

Conflicts::Conflicts(const Program& program)
    : program_(program), pasts_(static_cast<size_t>(program.devices) * program.tensors.size()) {}

Conflicts::Pasts& Conflicts::pasts_of(const Region& region) {
  return pasts_[static_cast<size_t>(region.device) * program_.tensors.size() +
                static_cast<size_t>(region.tensor)];
}

void Conflicts::take(int instruction, int launch,
                     const std::function<void(int instruction, int launch)>& found) {
  const std::vector<Access>& own = program_.instructions[static_cast<size_t>(instruction)].accesses;
  const auto find = [&](const std::vector<Past>& pasts, const Region& region) {
    for (const Past& past : pasts)
      if (region.overlaps(past.region)) found(past.instruction, past.launch);
  };
  for (const Access& access : own) {
    const Pasts& pasts = pasts_of(access.region);
    find(pasts.writes, access.region);
    if (access.writes) find(pasts.reads, access.region);
  }
  for (const Access& access : own) {
    if (!access.writes) continue;
    Pasts& pasts = pasts_of(access.region);
    forget_written(pasts.reads, access.region);
    forget_written(pasts.writes, access.region);
  }
  for (const Access& access : own) {
    Pasts& pasts = pasts_of(access.region);
    (access.writes ? pasts.writes : pasts.reads).push_back({access.region, instruction, launch});
  }
}

void Conflicts::forget_written(std::vector<Past>& pasts, const Region& region) {
  std::vector<Past> second;
  size_t kept = 0;
  for (size_t i = 0; i < pasts.size(); ++i) {
    if (kept != i) pasts[kept] = pasts[i];
    Region& rest = pasts[kept].region;
    if (rest.overlaps(region)) {
      const auto parts = rest.without(region);
      rest = parts[0];
      if (!parts[1].empty()) {
        second.push_back(pasts[kept]);
        second.back().region = parts[1];
      }
    }
    if (!rest.empty()) ++kept;
  }
  pasts.resize(kept);
  pasts.insert(pasts.end(), second.begin(), second.end());
}

}  // namespace tw
