#include "lib/vgpu/sim/memory.h"

#include <algorithm>

namespace tw::vgpu {
namespace {

constexpr size_t kRemembered = 64;

std::string hex(uint64_t value) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string digits;
  do digits.insert(digits.begin(), kDigits[value & 15]);
  while (value >>= 4);
  return "0x" + digits;
}

}  // namespace

void Memory::add(Region region) {
  const auto at = std::upper_bound(
      regions_.begin(), regions_.end(), region.begin,
      [](uint64_t begin, const std::unique_ptr<Region>& other) { return begin < other->begin; });
  regions_.insert(at, std::make_unique<Region>(std::move(region)));
  ++epoch_;
}

void Memory::remove(uint64_t begin) {
  const auto at =
      std::find_if(regions_.begin(), regions_.end(),
                   [&](const std::unique_ptr<Region>& region) { return region->begin == begin; });
  if (at == regions_.end()) return;
  if (removed_.size() == kRemembered) removed_.erase(removed_.begin());
  removed_.push_back(**at);
  regions_.erase(at);
  ++epoch_;
}

Region* Memory::find(uint64_t address) {
  const auto after = std::upper_bound(
      regions_.begin(), regions_.end(), address,
      [](uint64_t begin, const std::unique_ptr<Region>& other) { return begin < other->begin; });
  if (after == regions_.begin()) return nullptr;
  Region* region = std::prev(after)->get();
  return address < region->end ? region : nullptr;
}

const Region* Memory::find(uint64_t address) const {
  return const_cast<Memory*>(this)->find(address);
}

std::string Memory::describe(uint64_t address) const {
  for (auto region = removed_.rbegin(); region != removed_.rend(); ++region)
    if (address >= region->begin && address < region->end)
      return hex(address) + " is " + std::to_string(address - region->begin) + " bytes into " +
             region->origin + ", which was freed";
  const Region* below = nullptr;
  for (const auto& region : regions_)
    if (region->begin <= address) below = region.get();
  if (below != nullptr && address < below->end)
    return hex(address) + " is " + std::to_string(address - below->begin) + " bytes into " +
           below->origin;
  if (below != nullptr && address - below->end < 1 << 20)
    return hex(address) + " is " + std::to_string(address - below->end) +
           " bytes after the end of " + below->origin;
  return hex(address) + " is in no allocation";
}

}  // namespace tw::vgpu
