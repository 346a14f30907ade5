#include "lib/program/knowledge.h"

namespace tw {

Bits Knowledge::now(int instruction) const {
  Bits known;
  for (const Wait& wait : at(instruction).waits) {
    if (wait.launches_ago != 0 || !waits_for_all(wait)) continue;
    known.add(bit(wait.counter));
    add(known, now_, static_cast<size_t>(wait.counter));
  }
  return known;
}

bool Knowledge::done(const Bits& known, int instruction) const {
  for (const int counter : at(instruction).raises)
    if (known.has(bit(counter))) return true;
  return false;
}

void Knowledge::take_now(int instruction) {
  const Bits known = now(instruction);
  for (const int counter : at(instruction).raises)
    grown(now_, static_cast<size_t>(counter)).add(known);
  const auto device = static_cast<size_t>(at(instruction).device);
  start_[device].add(known);
  start_[device].add(device);
}

void Knowledge::add_counter(int counter, const std::vector<int>& raisers) {
  for (const int i : raisers) grown(now_, static_cast<size_t>(counter)).add(now(i));
}

bool Knowledge::noticed(int instruction) const {
  for (const Access& access : at(instruction).accesses) {
    const Region& region = access.region;
    if (region.device != at(instruction).device && !region.empty() &&
        !done(start_[static_cast<size_t>(region.device)], instruction))
      return false;
  }
  return true;
}

Bits Knowledge::before(int instruction) const {
  Bits known = start_[static_cast<size_t>(at(instruction).device)];
  if (program_.meets)
    for (const Access& access : at(instruction).accesses) {
      const auto device = static_cast<size_t>(access.region.device);
      known.add(start_[device]);
      known.add(device);
    }
  for (const Wait& wait : at(instruction).waits) {
    if (!waits_for_all(wait)) continue;
    const auto counter = static_cast<size_t>(wait.counter);
    if (wait.launches_ago == 0) {
      add(known, before_, counter);
    } else {
      known.add(bit(wait.counter));
      add(known, now_, counter);
    }
  }
  return known;
}

bool Knowledge::done_before(const Bits& known, int instruction) const {
  return known.has(static_cast<size_t>(at(instruction).device)) || done(known, instruction);
}

void Knowledge::take_before(int instruction) {
  const Bits known = before(instruction);
  for (const int counter : at(instruction).raises)
    grown(before_, static_cast<size_t>(counter)).add(known);
}

}  // namespace tw
