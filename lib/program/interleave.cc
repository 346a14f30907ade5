#include "lib/program/interleave.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "lib/program/conflicts.h"

namespace tw {

/// An instruction's place is at least that of every earlier one with which it conflicts, so a
/// stable sort by place keeps their order.
void interleave(Program* program, const std::vector<Order>& orders, size_t distance) {
  const size_t count = program->instructions.size();
  std::vector<size_t> place(count);
  Conflicts conflicts(*program);
  for (size_t i = 0; i < count; ++i) {
    size_t after = 0;
    conflicts.take(static_cast<int>(i), 0, [&](int other, int) {
      after = std::max(after, place[static_cast<size_t>(other)] + distance);
    });
    const auto op = static_cast<size_t>(program->instructions[i].op);
    place[i] = orders[op] == Order::kAhead ? std::min(after, i) : i;
  }
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return place[a] < place[b]; });
  std::vector<Instruction> moved;
  moved.reserve(count);
  for (const size_t i : order) moved.push_back(std::move(program->instructions[i]));
  program->instructions = std::move(moved);
}

}  // namespace tw
