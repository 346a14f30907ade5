// Barriers of a block and of a warp, fences.
#include <atomic>

#include "lib/vgpu/isa/address.h"
#include "lib/vgpu/isa/cluster.h"
#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/sim/observer.h"

namespace tw::vgpu {
namespace {

uint32_t first_lane(const Warp& warp, Slot slot) {
  return warp.at<uint32_t>(slot)[std::countr_zero(warp.active)];
}

/// Takes part in barrier a of the block, with b threads (all when there is no b). A warp counts
/// whole.
template <bool kWaits>
Step barrier(Warp& warp, const Op& op) {
  if (warp.mask != warp.live) return Step::kPark;
  const uint32_t number = first_lane(warp, op.a);
  const uint32_t expected = op.b == kNoSlot ? 0 : first_lane(warp, op.b);
  if (number > 15)
    warp.fault(FaultKind::kIllegalInstruction,
               "barrier " + std::to_string(number) + ": valid are 0 to 15");
  if (expected % kLanes != 0)
    warp.fault(FaultKind::kIllegalInstruction,
               "a barrier of " + std::to_string(expected) + " threads: valid are multiples of 32");
  NamedBarrier& state = warp.block->barriers[number];
  if (state.arrived > 0 && state.expected != expected)
    warp.fault(FaultKind::kIllegalInstruction, "barrier " + std::to_string(number) + " with " +
                                                   std::to_string(expected) +
                                                   " threads, where others came with " +
                                                   std::to_string(state.expected) + " (0: all)");
  if (op.kind != kNoResult) {
    const uint32_t values = warp.predicate(op.c) & warp.active;
    state.all = state.all && values == warp.active;
    state.any = state.any || values != 0;
    state.count += static_cast<uint32_t>(std::popcount(values));
  }
  state.arrivals.push_back(&warp);
  if (!kWaits) {
    warp.block->arrive(static_cast<int>(number), kLanes, expected);
    return Step::kNext;
  }
  warp.waiting_at = &op;
  warp.waiting_lanes = warp.active;
  state.waiting.push_back(&warp);
  ++warp.pc;
  warp.block->arrive(static_cast<int>(number), kLanes, expected);
  // The last to arrive has been released with the others.
  return warp.waiting_at == nullptr ? Step::kJump : Step::kBlocked;
}

Step warp_barrier(Warp& warp, const Op& op) {
  if (!warp.has_all(first_lane(warp, op.a))) return Step::kPark;
  if (warp.block->observer != nullptr) warp.block->observer->warp_barrier(warp, warp.active);
  return Step::kNext;
}

/// For instructions that all lanes of a warp execute together and that do nothing here.
Step together(Warp& warp, const Op&) { return warp.mask == warp.live ? Step::kNext : Step::kPark; }

Step fence(Warp& warp, const Op& op) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (warp.block->observer != nullptr) warp.block->observer->fence(warp, op);
  return Step::kNext;
}

void decode_warp_barrier(Form& form) {
  if (!form.take("sync")) form.fail("bar.warp.sync is meant");
  form.op.a = form.in(0, 4);
  form.emit(warp_barrier, 1);
}

void decode_barrier(Form& form) {
  if (form.take("cluster")) return decode_cluster_barrier(form);
  if (form.mnemonic() == "bar" && form.take("warp")) return decode_warp_barrier(form);
  form.take("cta");
  const int what = form.take_one({"sync", "arrive", "red"});
  form.take("aligned");
  size_t next = 0;
  if (what == 2) {
    form.op.kind = static_cast<uint8_t>(kWhetherAll + form.take_one({"and", "or", "popc"}));
    const Type type = form.type();
    if ((type == Type::kPred) != (form.op.kind != kHowMany))
      form.fail("the result has another type");
    form.op.d = form.op.kind == kHowMany ? form.out(next++, 4) : form.predicate_out(next++);
  }
  form.op.a = form.in(next++, 4);
  const size_t left = form.operands() - next;
  if (left > (what == 2 ? 1 : 0)) form.op.b = form.in(next++, 4);
  if (what == 2) form.op.c = form.predicate_in(next++);
  if (what == 1 && form.op.b == kNoSlot) form.fail("an arrival needs a number of threads");
  form.emit(what == 1 ? barrier<false> : barrier<true>, next);
}

/// fence.{sc,acq_rel}.scope, membar.level, and the proxies' fences, which the race detector minds.
void decode_fence(Form& form) {
  if (form.mnemonic() == "membar") {
    if (!form.take("proxy")) {
      constexpr Scope kScopes[] = {Scope::kCta, Scope::kGpu, Scope::kSystem};
      form.op.scope = kScopes[form.take_one({"cta", "gl", "sys"})];
      form.op.order = Order::kSequential;
      return form.emit(fence, 0);
    }
  } else if (form.take("mbarrier_init")) {
    take_order(form);
    return form.emit(fence, 0);
  } else if (!form.take("proxy")) {
    take_order(form, Order::kSequential, Scope::kSystem);
    return form.emit(fence, 0);
  }
  form.op.kind = static_cast<uint8_t>(
      1 + form.take_one({"alias", "async", "async.global", "tensormap::generic"}));
  take_order(form);
  take_space(form, Space::kGeneric);
  const size_t operands = form.op.kind == 4 && form.op.order == Order::kAcquire ? 2 : 0;
  if (operands == 2) {
    form.address(0);
    if (form.constant(1) != 128) form.fail("a tensor map has 128 bytes");
  }
  form.emit(fence, operands);
}

void setmaxnreg(Form& form) {
  form.take_one({"inc", "dec"});
  if (!form.take("sync") || !form.take("aligned") || form.type() != Type::kU32)
    form.fail("setmaxnreg.{inc,dec}.sync.aligned.u32 is meant");
  const int64_t registers = form.constant(0);
  if (registers < 24 || registers > 256 || registers % 8 != 0)
    form.fail(std::to_string(registers) + " registers: valid are multiples of 8 from 24 to 256");
  form.emit(together, 1);
}

/// Launches of a stream follow each other here, so dependents have nothing to wait for.
void griddepcontrol(Form& form) {
  form.take_one({"launch_dependents", "wait"});
  form.emit([](Warp&, const Op&) { return Step::kNext; }, 0);
}

}  // namespace

const Row kSyncRows[] = {{"bar", decode_barrier},
                         {"barrier", decode_barrier},
                         {"fence", decode_fence},
                         {"membar", decode_fence},
                         {"setmaxnreg", setmaxnreg},
                         {"griddepcontrol", griddepcontrol},
                         {}};

}  // namespace tw::vgpu
