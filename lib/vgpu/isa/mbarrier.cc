// mbarrier objects in shared memory.
#include "lib/vgpu/sim/mbarrier.h"

#include "lib/vgpu/isa/address.h"
#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/sim/observer.h"

namespace tw::vgpu {
namespace {

enum What : uint8_t { kArrive, kArriveExpect, kExpect, kComplete, kArriveDrop };

constexpr int32_t kMostBytes = (1 << 20) - 1;

Mbarrier barrier_at(const Warp& warp, uint64_t address) {
  Mbarrier barrier;
  if (!Mbarrier::unpack(*reinterpret_cast<const uint64_t*>(address), &barrier))
    warp.fault(FaultKind::kIllegalInstruction, "there is no initialised mbarrier at this address");
  return barrier;
}

Step initialise(Warp& warp, const Op& op) {
  Addresses addresses;
  resolve(warp, op, op.a, 8, 8, true, &addresses);
  if (warp.block->observer != nullptr)
    warp.block->observer->access(warp, op, addresses.lane, 8, AccessKind::kStore);
  TW_VGPU_EACH(lane, warp.active) {
    const uint32_t count = warp.at<uint32_t>(op.b)[lane];
    if (count == 0 || count > kMostArrivals)
      warp.fault(FaultKind::kIllegalInstruction, "an mbarrier of " + std::to_string(count) +
                                                     " arrivals: valid are 1 to " +
                                                     std::to_string(kMostArrivals));
    *reinterpret_cast<uint64_t*>(addresses.lane[lane]) = Mbarrier{false, count, count, 0}.pack();
  }
  warp.block->machine->note_progress();
  return Step::kNext;
}

Step invalidate(Warp& warp, const Op& op) {
  Addresses addresses;
  resolve(warp, op, op.a, 8, 8, true, &addresses);
  TW_VGPU_EACH(lane, warp.active) {
    barrier_at(warp, addresses.lane[lane]);
    *reinterpret_cast<uint64_t*>(addresses.lane[lane]) = 0;
  }
  return Step::kNext;
}

/// op.b: the count, or the bytes; op.kind: What.
Step arrive(Warp& warp, const Op& op) {
  Addresses addresses;
  resolve(warp, op, op.a, 8, 8, true, &addresses);
  if (warp.block->observer != nullptr)
    warp.block->observer->access(warp, op, addresses.lane, 8, AccessKind::kAtomic);
  TW_VGPU_EACH(lane, warp.active) {
    Mbarrier barrier = barrier_at(warp, addresses.lane[lane]);
    const uint64_t before = barrier.pack();
    const uint32_t value = op.b == kNoSlot ? 1 : warp.at<uint32_t>(op.b)[lane];
    const bool expects = op.kind == kArriveExpect || op.kind == kExpect;
    const uint32_t arrivals = op.kind == kArriveExpect                       ? 1
                              : op.kind == kArrive || op.kind == kArriveDrop ? value
                                                                             : 0;
    if (arrivals > barrier.pending)
      warp.fault(FaultKind::kIllegalInstruction, "an mbarrier of " +
                                                     std::to_string(barrier.expected) +
                                                     " arrivals gets more of them in one phase");
    if (expects) barrier.bytes += static_cast<int32_t>(value);
    if (op.kind == kComplete) barrier.bytes -= static_cast<int32_t>(value);
    if (barrier.bytes > kMostBytes || barrier.bytes < -kMostBytes)
      warp.fault(FaultKind::kIllegalInstruction,
                 "an mbarrier waits for " + std::to_string(barrier.bytes) +
                     " bytes: valid are up to " + std::to_string(kMostBytes));
    if (op.kind == kArriveDrop) barrier.expected -= arrivals;
    barrier.pending -= arrivals;
    barrier.advance();
    *reinterpret_cast<uint64_t*>(addresses.lane[lane]) = barrier.pack();
    if (op.d != kNoSlot) warp.at<uint64_t>(op.d)[lane] = before;
  }
  warp.block->machine->note_progress();
  return Step::kYield;
}

/// op.kind: 1 when b is a parity, else it is a state.
Step wait(Warp& warp, const Op& op) {
  Addresses addresses;
  resolve(warp, op, op.a, 8, 8, false, &addresses);
  if (warp.block->observer != nullptr)
    warp.block->observer->access(warp, op, addresses.lane, 8, AccessKind::kLoad);
  uint32_t complete = 0;
  TW_VGPU_EACH(lane, warp.active) {
    const Mbarrier barrier = barrier_at(warp, addresses.lane[lane]);
    const bool parity =
        op.kind == 1 ? warp.at<uint32_t>(op.b)[lane] & 1 : warp.at<uint64_t>(op.b)[lane] >> 63;
    complete |= static_cast<uint32_t>(barrier.phase != parity) << lane;
  }
  warp.set_predicate(op.d, complete);
  return complete == warp.active ? Step::kNext : Step::kYield;
}

Step pending_count(Warp& warp, const Op& op) {
  const auto* a = warp.at<uint64_t>(op.a);
  for_lanes(warp, warp.at<uint32_t>(op.d), [=](int lane) {
    Mbarrier barrier;
    Mbarrier::unpack(a[lane], &barrier);
    return barrier.pending;
  });
  return Step::kNext;
}

void decode_arrive(Form& form, uint8_t what) {
  if (what == kArrive && form.take("expect_tx")) what = kArriveExpect;
  if (form.take("noComplete")) form.fail(".noComplete is not supported");
  take_order(form, Order::kRelease, Scope::kCta);
  form.op.space = take_space(form, Space::kGeneric);
  if (form.type() != Type::kB64) form.fail("mbarriers are .b64");
  form.op.kind = what;
  size_t next = 0;
  const bool has_state = form.operand(0).kind != ptx::Operand::Kind::kAddress;
  if (has_state && (what == kExpect || what == kComplete))
    form.fail("an [address] must stand first");
  if (has_state) form.op.d = form.out(next++, 8);
  form.address(next++);
  if (what != kArrive || form.operands() > next) form.op.b = form.in(next++, 4);
  form.emit(arrive, next);
}

void decode_wait(Form& form) {
  const bool has_parity = form.take("parity");
  take_order(form, Order::kAcquire, Scope::kCta);
  form.op.space = take_space(form, Space::kGeneric);
  if (form.type() != Type::kB64) form.fail("mbarriers are .b64");
  form.op.kind = has_parity ? 1 : 0;
  form.op.d = form.predicate_out(0);
  form.address(1);
  form.op.b = form.in(2, has_parity ? 4 : 8);
  // A limit of the time that the wait may take.
  if (form.operands() == 4) form.in(3, 4);
  form.emit(wait, form.operands() == 4 ? 4 : 3);
}

void decode(Form& form) {
  switch (form.take_one({"init", "inval", "arrive", "arrive_drop", "expect_tx", "complete_tx",
                         "test_wait", "try_wait", "pending_count"})) {
    case 0:
    case 1: {
      const bool is_init = form.operands() == 2;
      form.op.space = take_space(form, Space::kGeneric);
      if (form.type() != Type::kB64) form.fail("mbarriers are .b64");
      form.address(0);
      if (is_init) form.op.b = form.in(1, 4);
      return form.emit(is_init ? initialise : invalidate, is_init ? 2 : 1);
    }
    case 2:
      return decode_arrive(form, kArrive);
    case 3:
      return decode_arrive(form, kArriveDrop);
    case 4:
      return decode_arrive(form, kExpect);
    case 5:
      return decode_arrive(form, kComplete);
    case 8:
      if (form.type() != Type::kB64) form.fail("states are .b64");
      form.op.d = form.out(0, 4);
      form.op.a = form.in(1, 8);
      return form.emit(pending_count, 2);
    default:
      return decode_wait(form);
  }
}

}  // namespace

bool complete_transaction(uint64_t* word, uint32_t bytes) {
  Mbarrier barrier;
  if (!Mbarrier::unpack(*word, &barrier)) return false;
  barrier.bytes -= static_cast<int32_t>(bytes);
  barrier.advance();
  *word = barrier.pack();
  return true;
}

const Row kMbarrierRows[] = {{"mbarrier", decode}, {}};

}  // namespace tw::vgpu
