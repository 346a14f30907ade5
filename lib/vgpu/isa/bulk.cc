// cp.async, cp.async.bulk, cp.reduce.async.bulk: copies that go on while the warp does. They end at
// random times or as late as they may.
#include "lib/vgpu/isa/bulk.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/floats.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/isa/tensor.h"
#include "lib/vgpu/sim/mbarrier.h"
#include "lib/vgpu/sim/observer.h"

namespace tw::vgpu {
namespace {

using ptx::Operand;

// ---- cp.async: each lane's own groups -------------------------------------------------------

void finish_copy(const PendingCopy& copy) {
  std::memcpy(copy.to, copy.from, copy.bytes);
  std::memset(copy.to + copy.bytes, 0, copy.zeros);
}

/// Tells the observer of the bytes that each lane reads: what zeros take the place of is not read.
void observe_source(Warp& warp, const Op& source, const Addresses& from, const uint32_t* bytes) {
  const uint32_t all = warp.active;
  for (uint32_t left = all; left != 0; left &= ~warp.active) {
    const uint32_t size = bytes[std::countr_zero(left)];
    warp.active = 0;
    TW_VGPU_EACH(lane, left) if (bytes[lane] == size) warp.active |= 1u << lane;
    if (size != 0) warp.block->observer->access(warp, source, from.lane, size, AccessKind::kLoad);
  }
  warp.active = all;
}

/// op.immediate: the offset of a; op.e: the source's slot, with its offset in op.target.
Step copy_async(Warp& warp, const Op& op) {
  Addresses to, from;
  resolve(warp, op, op.a, op.bytes, op.bytes, true, &to);
  Op source = op;
  source.space = Space::kGlobal;
  source.immediate = op.target;
  source.is_wide = true;
  resolve(warp, source, op.e, op.bytes, op.bytes, false, &from);
  uint32_t bytes[kLanes] = {};
  TW_VGPU_EACH(lane, warp.active) {
    const uint32_t wanted = op.b == kNoSlot ? op.bytes : warp.at<uint32_t>(op.b)[lane];
    bytes[lane] = std::min<uint32_t>(wanted, op.bytes);
  }
  if (warp.block->observer != nullptr) {
    observe_source(warp, source, from, bytes);
    warp.block->observer->access(warp, op, to.lane, op.bytes, AccessKind::kStore);
  }
  Random& random = warp.block->machine->random();
  TW_VGPU_EACH(lane, warp.active) {
    const PendingCopy copy{reinterpret_cast<uint8_t*>(to.lane[lane]),
                           reinterpret_cast<const uint8_t*>(from.lane[lane]),
                           bytes[lane],
                           op.bytes - bytes[lane],
                           lane,
                           warp.copy_groups[lane]};
    if (random.below(8) == 0)
      finish_copy(copy);
    else
      warp.copies.push_back(copy);
  }
  return Step::kNext;
}

Step commit_copies(Warp& warp, const Op&) {
  TW_VGPU_EACH(lane, warp.active)++ warp.copy_groups[lane];
  return Step::kNext;
}

/// Finishes the active lanes' groups but the latest op.immediate; all copies when that is negative.
Step wait_copies(Warp& warp, const Op& op) {
  std::erase_if(warp.copies, [&](const PendingCopy& copy) {
    if ((warp.active >> copy.lane & 1) == 0) return false;
    if (op.immediate >= 0 &&
        int64_t{copy.group} + op.immediate >= int64_t{warp.copy_groups[copy.lane]})
      return false;
    finish_copy(copy);
    return true;
  });
  warp.block->machine->note_progress();
  return Step::kNext;
}

void decode_copy_async(Form& form) {
  if (form.take("commit_group")) return form.emit(commit_copies, 0);
  if (form.take("wait_all")) {
    form.op.immediate = -1;
    return form.emit(wait_copies, 0);
  }
  if (form.take("wait_group")) {
    form.op.immediate = form.constant(0);
    if (form.op.immediate < 0) form.fail("a number of groups must stand here");
    return form.emit(wait_copies, 1);
  }
  const bool is_whole_line = form.take_one({"ca", "cg"}) == 1;
  if (!form.take("shared") && !form.take("shared::cta"))
    form.fail("cp.async goes to shared memory");
  if (!form.take("global")) form.fail("cp.async comes from global memory");
  for (const std::string_view hint : {"L2::64B", "L2::128B", "L2::256B"}) form.take(hint);
  form.op.space = Space::kShared;
  const int64_t bytes = form.constant(2);
  if (bytes != 16 && (is_whole_line || (bytes != 4 && bytes != 8)))
    form.fail(std::to_string(bytes) + " bytes: valid are 16 and, with .ca, 4 and 8");
  form.op.bytes = static_cast<uint8_t>(bytes);
  const Operand& from = form.operand(1);
  if (from.kind != Operand::Kind::kAddress) form.fail("an [address] must stand here");
  bool is_wide = false;
  form.address(from.parts[0], from, &form.op.e, &is_wide);
  form.op.target = static_cast<int32_t>(from.offset);
  if (!is_wide || from.offset != form.op.target) form.fail("a global address has 64 bits");
  form.address(0);
  if (form.operands() == 4) form.op.b = form.in(3, 4);
  form.emit(copy_async, form.operands() == 4 ? 4 : 3);
}

// ---- cp.async.bulk --------------------------------------------------------------------------

/// One lane's copy. `bar` is 0 where a bulk group tracks it.
struct BulkCopy {
  Block* from_block = nullptr;  // kept while it is read
  Block* to_block = nullptr;
  uint64_t to = 0, from = 0, bar = 0;
  uint32_t bytes = 0;
  Reduction reduction = Reduction::kNone;
  ptx::Type type = ptx::Type::kNone;
  std::shared_ptr<BulkGroup> group;
  std::string place;
  Observer* observer = nullptr;
  std::shared_ptr<Ticket> ticket;  // null without an observer
};

void write_bulk(const BulkCopy& copy, const std::vector<uint8_t>& data) {
  auto* to = reinterpret_cast<uint8_t*>(copy.to);
  if (copy.ticket)
    copy.observer->engine_access(
        copy.ticket, copy.to, copy.bytes,
        copy.reduction == Reduction::kNone ? AccessKind::kStore : AccessKind::kAtomic);
  if (copy.reduction == Reduction::kNone)
    std::memcpy(to, data.data(), data.size());
  else
    reduce_bytes(to, data.data(), copy.bytes, copy.reduction, copy.type);
  if (copy.ticket && copy.bar != 0) copy.observer->engine_signal(copy.ticket, copy.bar);
  if (copy.bar != 0) signal_bytes(copy.place, copy.bar, copy.bytes);
  if (copy.group) --copy.group->writing;
}

/// Reads at one time and writes at a later one.
void start_bulk(Machine* machine, const BulkCopy& copy) {
  if (copy.group) {
    ++copy.group->reading;
    ++copy.group->writing;
    if (copy.ticket) copy.group->tickets.push_back(copy.ticket);
  }
  machine->start_engine(copy.from_block, [machine, copy] {
    const auto* from = reinterpret_cast<const uint8_t*>(copy.from);
    if (copy.ticket)
      copy.observer->engine_access(copy.ticket, copy.from, copy.bytes, AccessKind::kLoad);
    const auto data = std::make_shared<std::vector<uint8_t>>(from, from + copy.bytes);
    if (copy.group) --copy.group->reading;
    machine->start_engine(copy.to_block, [copy, data] { write_bulk(copy, *data); });
  });
}

/// Lists: destination, source, bytes, mbarrier (kNoSlot: a group). Immediates of addresses are in
/// op.immediate (destination) and op.target (source); op.kind: the spaces.
enum Way : uint8_t { kGlobalToShared, kSharedToGlobal, kSharedToShared };

Step copy_bulk(Warp& warp, const Op& op) {
  const Slot* slots = warp.lists + op.list;
  const bool from_shared = op.kind != kGlobalToShared, to_shared = op.kind != kSharedToGlobal;
  Op to_op = op, from_op = op, bar_op = op;
  to_op.space = to_shared ? Space::kShared : Space::kGlobal;
  from_op.space = from_shared ? Space::kShared : Space::kGlobal;
  to_op.is_wide = !to_shared;
  from_op.is_wide = !from_shared;
  from_op.immediate = op.target;
  bar_op.space = Space::kShared;
  bar_op.is_wide = false;
  bar_op.immediate = static_cast<int64_t>(op.e);
  const uint32_t all = warp.active;
  TW_VGPU_EACH(lane, all) {
    warp.active = uint32_t{1} << lane;
    const uint32_t bytes = warp.at<uint32_t>(slots[2])[lane];
    if (bytes % 16 != 0)
      warp.fault(FaultKind::kMisalignedAddress,
                 "a bulk copy of " + std::to_string(bytes) + " bytes: valid are multiples of 16");
    if (bytes == 0 && slots[3] == kNoSlot) continue;
    Addresses to, from, bar;
    resolve(warp, to_op, slots[0], std::max(bytes, 1u), 16, true, &to);
    resolve(warp, from_op, slots[1], std::max(bytes, 1u), 16, false, &from);
    BulkCopy copy;
    copy.to = to.lane[lane];
    copy.from = from.lane[lane];
    copy.bytes = bytes;
    copy.reduction = static_cast<Reduction>(op.rounding);
    copy.type = static_cast<ptx::Type>(op.bytes);
    copy.place = warp.place();
    copy.observer = warp.block->observer;
    copy.ticket = take_ticket(warp, lane);
    copy.to_block = to_shared ? owner_of(warp, copy.to) : warp.block;
    copy.from_block = from_shared ? owner_of(warp, copy.from) : warp.block;
    if (slots[3] != kNoSlot) {
      resolve(warp, bar_op, slots[3], 8, 8, true, &bar);
      copy.bar = bar.lane[lane];
    } else {
      copy.group = open_group(warp, lane);
    }
    start_bulk(warp.block->machine, copy);
  }
  warp.active = all;
  return Step::kNext;
}

Step commit_bulk(Warp& warp, const Op&) {
  TW_VGPU_EACH(lane, warp.active) {
    Warp::LaneBulk& bulk = (open_group(warp, lane), warp.bulk[static_cast<size_t>(lane)]);
    bulk.committed.push_back(std::move(bulk.open));
    bulk.open = nullptr;
  }
  return Step::kNext;
}

/// Tells the observer what a lane has waited for; forgets the groups that are complete for good.
void note_waited(Warp& warp, const Op& op, int lane) {
  auto& committed = warp.bulk[static_cast<size_t>(lane)].committed;
  const auto must = std::max<int64_t>(0, static_cast<int64_t>(committed.size()) - op.immediate);
  for (int64_t i = 0; i < must; ++i)
    for (const std::shared_ptr<Ticket>& ticket : committed[static_cast<size_t>(i)]->tickets)
      warp.block->observer->waited(warp, lane, ticket, op.kind == 1);
  // What has only been read may be waited for again.
  if (op.kind == 0) committed.erase(committed.begin(), committed.begin() + must);
}

/// Until all but the latest op.immediate groups are complete; op.kind 1: have been read.
Step wait_bulk(Warp& warp, const Op& op) {
  if (!warp.bulk) return Step::kNext;
  TW_VGPU_EACH(lane, warp.active) {
    auto& committed = warp.bulk[static_cast<size_t>(lane)].committed;
    const int64_t must = static_cast<int64_t>(committed.size()) - op.immediate;
    for (int64_t i = 0; i < must; ++i) {
      const BulkGroup& group = *committed[static_cast<size_t>(i)];
      if (group.reading > 0 || (op.kind == 0 && group.writing > 0)) return Step::kRetry;
    }
  }
  TW_VGPU_EACH(lane, warp.active) note_waited(warp, op, lane);
  return Step::kNext;
}

int spaces(Form& form) {
  // Destination first: the words stand in this order.
  const std::string_view opcode = form.statement().opcode;
  const size_t global = opcode.find(".global"), shared = opcode.find(".shared::");
  if (global != std::string_view::npos) {
    form.take("global");
    if (!form.take("shared::cta") && !form.take("shared::cluster"))
      form.fail("the other end must be in shared memory");
    return global < shared ? kSharedToGlobal : kGlobalToShared;
  }
  if (!form.take("shared::cluster") || !form.take("shared::cta"))
    form.fail("the spaces are global and shared, or shared::cluster and shared::cta");
  return kSharedToShared;
}

void decode_bulk(Form& form) {
  if (form.take("commit_group")) return form.emit(commit_bulk, 0);
  if (form.take("wait_group")) {
    form.op.kind = form.take("read") ? 1 : 0;
    form.op.immediate = form.constant(0);
    if (form.op.immediate < 0) form.fail("a number of groups must stand here");
    return form.emit(wait_bulk, 1);
  }
  const bool reduces = form.statement().opcode.starts_with("cp.reduce");
  form.op.kind = static_cast<uint8_t>(spaces(form));
  const bool has_barrier = form.take("mbarrier::complete_tx::bytes");
  if (!has_barrier && !form.take("bulk_group")) form.fail("the completion mechanism is missing");
  if (has_barrier == (form.op.kind == kSharedToGlobal))
    form.fail("copies to global memory complete by .bulk_group, others by .mbarrier");
  if (form.take("multicast::cluster")) form.fail(".multicast::cluster is not supported");
  const bool has_policy = form.take("L2::cache_hint");
  if (reduces) {
    form.op.rounding = static_cast<uint8_t>(take_reduction(form));
    form.take("noftz");
    form.op.bytes = static_cast<uint8_t>(form.type());
  }
  const auto address = [&](size_t i, bool wide, int64_t* offset) {
    Slot slot = kNoSlot;
    bool is_wide = false;
    const Operand& whole = form.operand(i);
    if (whole.kind != Operand::Kind::kAddress) form.fail("an [address] must stand here");
    form.address(whole.parts[0], whole, &slot, &is_wide);
    if (is_wide != wide && (wide || (slot & 1) == 0)) form.fail("the address has another width");
    if (is_wide != wide) slot = form.in(whole.parts[0], 4);
    *offset = whole.offset;
    return slot;
  };
  int64_t to = 0, from = 0, bar = 0;
  std::vector<Slot> slots = {address(0, form.op.kind == kSharedToGlobal, &to),
                             address(1, form.op.kind == kGlobalToShared, &from), form.in(2, 4),
                             has_barrier ? address(3, false, &bar) : kNoSlot};
  form.list(slots);
  form.op.immediate = to;
  form.op.target = static_cast<int32_t>(from);
  form.op.e = static_cast<uint32_t>(bar);
  const size_t operands = has_barrier ? 4 : 3;
  if (has_policy) form.in(operands, 8);
  form.emit(copy_bulk, has_policy ? operands + 1 : operands);
}

void decode_cp(Form& form) {
  if (form.take("reduce")) {
    if (!form.take("async") || !form.take("bulk")) form.fail("cp.reduce.async.bulk is meant");
    return form.take("tensor") ? decode_tensor(form, true) : decode_bulk(form);
  }
  if (!form.take("async")) form.fail("cp.async is meant");
  if (!form.take("bulk")) return decode_copy_async(form);
  if (form.take("prefetch")) form.fail("bulk prefetches are not supported");
  return form.take("tensor") ? decode_tensor(form, false) : decode_bulk(form);
}

template <class T>
T reduced(T old, T value, Reduction reduction) {
  switch (reduction) {
    case Reduction::kAdd:
      return static_cast<T>(old + value);
    case Reduction::kMin:
      return value < old ? value : old;
    case Reduction::kMax:
      return value > old ? value : old;
    default:
      break;
  }
  if constexpr (std::is_integral_v<T>) {
    switch (reduction) {
      case Reduction::kAnd:
        return old & value;
      case Reduction::kOr:
        return old | value;
      case Reduction::kXor:
        return old ^ value;
      case Reduction::kIncrement:
        return old >= value ? 0 : static_cast<T>(old + 1);
      case Reduction::kDecrement:
        return old == 0 || old > value ? value : static_cast<T>(old - 1);
      default:
        break;
    }
  }
  return old;
}

template <class T>
void reduce_as(uint8_t* to, const uint8_t* from, uint32_t bytes, Reduction reduction) {
  for (uint32_t i = 0; i < bytes; i += sizeof(T)) {
    T old, value;
    std::memcpy(&old, to + i, sizeof(T));
    std::memcpy(&value, from + i, sizeof(T));
    const T result = reduced<T>(old, value, reduction);
    std::memcpy(to + i, &result, sizeof(T));
  }
}

void reduce_small(uint8_t* to, const uint8_t* from, uint32_t bytes, Reduction reduction,
                  bool is_half) {
  const FloatFormat& format = is_half ? kHalf : kBfloat;
  for (uint32_t i = 0; i < bytes; i += 2) {
    uint16_t old, value;
    std::memcpy(&old, to + i, 2);
    std::memcpy(&value, from + i, 2);
    const double result =
        reduced<double>(decode_float(old, format), decode_float(value, format), reduction);
    old = static_cast<uint16_t>(encode(result, format, Rounding::kNearest, false));
    std::memcpy(to + i, &old, 2);
  }
}

}  // namespace

void reduce_bytes(uint8_t* to, const uint8_t* from, uint32_t bytes, Reduction reduction,
                  ptx::Type type) {
  switch (type) {
    case ptx::Type::kF16:
      return reduce_small(to, from, bytes, reduction, true);
    case ptx::Type::kBf16:
      return reduce_small(to, from, bytes, reduction, false);
    case ptx::Type::kF32:
      return reduce_as<float>(to, from, bytes, reduction);
    case ptx::Type::kF64:
      return reduce_as<double>(to, from, bytes, reduction);
    case ptx::Type::kS32:
      return reduce_as<int32_t>(to, from, bytes, reduction);
    case ptx::Type::kS64:
      return reduce_as<int64_t>(to, from, bytes, reduction);
    case ptx::Type::kU64:
    case ptx::Type::kB64:
      return reduce_as<uint64_t>(to, from, bytes, reduction);
    default:
      return reduce_as<uint32_t>(to, from, bytes, reduction);
  }
}

Reduction take_reduction(Form& form) {
  return static_cast<Reduction>(
      1 + form.take_one({"add", "min", "max", "and", "or", "xor", "inc", "dec"}));
}

Block* owner_of(Warp& warp, uint64_t address) {
  for (Block* block : warp.block->cluster->blocks)
    if (block != nullptr && address - reinterpret_cast<uint64_t>(block->shared) < block->shared_end)
      return block;
  return warp.block;
}

std::shared_ptr<Ticket> take_ticket(const Warp& warp, int lane) {
  Observer* observer = warp.block->observer;
  return observer != nullptr ? observer->issue(warp, lane) : nullptr;
}

std::shared_ptr<BulkGroup> open_group(Warp& warp, int lane) {
  if (!warp.bulk) warp.bulk = std::make_unique<Warp::LaneBulk[]>(kLanes);
  auto& open = warp.bulk[static_cast<size_t>(lane)].open;
  if (!open) open = std::make_shared<BulkGroup>();
  return open;
}

void signal_bytes(const std::string& place, uint64_t word, uint32_t bytes) {
  if (!complete_transaction(reinterpret_cast<uint64_t*>(word), bytes))
    throw Fault(FaultKind::kIllegalInstruction,
                place + ": a copy completes on an mbarrier that is not initialised");
}

const Row kBulkRows[] = {{"cp", decode_cp}, {}};

}  // namespace tw::vgpu
