#include "lib/vgpu/sim/warp.h"

#include <algorithm>
#include <bit>

#include "lib/vgpu/sim/machine.h"

namespace tw::vgpu {

/// Chooses the group that goes on: those at the same op are joined; the lowest pc first, which is
/// where diverged lanes meet again, or after a strong access any, so that no lane starves another.
void Warp::pick_group() {
  if (mask != 0) others.push_back({pc, mask, false});
  mask = 0;
  std::sort(others.begin(), others.end(),
            [](const LaneGroup& a, const LaneGroup& b) { return a.pc < b.pc; });
  size_t kept = 0;
  for (size_t i = 0; i < others.size(); ++i) {
    if (kept > 0 && others[kept - 1].pc == others[i].pc) {
      others[kept - 1].lanes |= others[i].lanes;
      others[kept - 1].is_parked = false;
    } else {
      others[kept++] = others[i];
    }
  }
  others.resize(kept);
  const size_t first = shuffle_groups ? block->machine->random().below(kept) : 0;
  shuffle_groups = false;
  for (size_t i = 0; i < kept; ++i) {
    const size_t chosen = (first + i) % kept;
    if (others[chosen].is_parked) continue;
    pc = others[chosen].pc;
    mask = others[chosen].lanes;
    others.erase(others.begin() + static_cast<ptrdiff_t>(chosen));
    return;
  }
  pc = others[0].pc;
  fault(FaultKind::kIllegalInstruction,
        "lanes wait for each other at different instructions that all of them must execute "
        "together; the others stand at " +
            program->where(others.back().pc));
}

Step Warp::execute(int quantum) {
  uint64_t ops = 0;
  Step step = Step::kYield;
  while (quantum-- > 0) {
    if (!others.empty() || mask == 0) [[unlikely]]
      pick_group();
    const Op& op = code[pc];
    active = mask & (predicates[op.guard] ^ op.guard_flip);
    if (active == 0) {
      ++pc;
      continue;
    }
    ops += static_cast<uint64_t>(std::popcount(active));
    step = op.run(*this, op);
    if (step == Step::kNext) [[likely]] {
      ++pc;
      continue;
    }
    if (step == Step::kJump) continue;
    yielded_at = pc;
    if (step == Step::kYield) ++pc;
    if (step == Step::kYield || step == Step::kRetry) {
      shuffle_groups = true;
      break;
    }
    if (step == Step::kPark) {
      if (others.empty())
        fault(FaultKind::kIllegalInstruction,
              "lanes that take part in this instruction have taken another way or have exited");
      others.push_back({pc, mask, true});
      mask = 0;
      continue;
    }
    if (step == Step::kLeft) {
      if (live == 0) break;
      continue;
    }
    break;
  }
  thread_ops += ops;
  return step;
}

std::string Warp::place() const {
  const Dim3& at = block->index;
  return "GPU " + std::to_string(block->gpu) + ", block (" + std::to_string(at.x) + "," +
         std::to_string(at.y) + "," + std::to_string(at.z) + "), warp " + std::to_string(index);
}

void Warp::fault(FaultKind kind, const std::string& sentence) const {
  throw Fault(kind, place() + ": " + sentence + "\n  at " + program->where(pc));
}

}  // namespace tw::vgpu
