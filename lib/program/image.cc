#include "lib/program/image.h"

#include <algorithm>

#include "lib/base/error.h"

namespace tw {
namespace {

/// The number of each counter among those of its device; and how many the device with most has.
struct Numbers {
  explicit Numbers(const Program& program) {
    std::vector<uint32_t> next(static_cast<size_t>(program.devices));
    for (const Counter& counter : program.counters)
      of.push_back(next[static_cast<size_t>(counter.device)]++);
    most = *std::max_element(next.begin(), next.end());
  }
  std::vector<uint32_t> of;
  size_t most;
};

void add_wait(const Program& program, const Numbers& numbers, int instruction, const Wait& wait,
              std::vector<ProgramWait>* waits) {
  const Counter& counter = program.counters[static_cast<size_t>(wait.counter)];
  if (wait.launches_ago != 0 || wait.count != counter.raises)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s waits for %u of %u raises, %d launches ago; launches can wait for all, of their own",
         program.name_of(instruction).c_str(), wait.count, counter.raises, wait.launches_ago);
  waits->push_back(
      {static_cast<uint32_t>(counter.device), numbers.of[static_cast<size_t>(wait.counter)]});
}

}  // namespace

ProgramImage image_of(const Program& program, int device) {
  const Numbers numbers(program);
  ProgramImage image;
  image.slots = numbers.most;
  std::vector<size_t> lengths(static_cast<size_t>(program.devices));
  for (const Instruction& instruction : program.instructions)
    image.longest = std::max(image.longest, ++lengths[static_cast<size_t>(instruction.device)]);
  for (const Counter& counter : program.counters) {
    if (counter.device != device) continue;
    uint32_t told = 0;
    for (const int to : counter.told) told |= 1u << to;
    image.counters.push_back({counter.raises, told});
  }
  for (size_t i = 0; i < program.instructions.size(); ++i) {
    const Instruction& from = program.instructions[i];
    if (from.device != device) continue;
    ProgramInstruction to{};
    to.op = static_cast<uint32_t>(from.op);
    std::copy(from.at.begin(), from.at.end(), to.at);
    to.first_wait = static_cast<uint32_t>(image.waits.size());
    to.waits = static_cast<uint32_t>(from.waits.size());
    for (const Wait& wait : from.waits) {
      add_wait(program, numbers, static_cast<int>(i), wait, &image.waits);
      const Counter& counter = program.counters[static_cast<size_t>(wait.counter)];
      if (counter.device == device)
        image.counters[numbers.of[static_cast<size_t>(wait.counter)]].told |= 1u << device;
    }
    to.first_raise = static_cast<uint32_t>(image.raises.size());
    to.raises = static_cast<uint32_t>(from.raises.size());
    for (const int counter : from.raises)
      image.raises.push_back(numbers.of[static_cast<size_t>(counter)]);
    image.list.push_back(to);
    image.numbers.push_back(static_cast<uint32_t>(i));
  }
  return image;
}

}  // namespace tw
