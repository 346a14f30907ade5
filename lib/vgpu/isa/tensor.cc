#include "lib/vgpu/isa/tensor.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "lib/vgpu/isa/bulk.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/sim/tensor_map.h"

namespace tw::vgpu {
namespace {

using ptx::Operand;

constexpr uint32_t kSharedAlign = 128;

struct Box {
  TensorMap map;
  int32_t at[5];  // coordinates of the corner
};

ptx::Type element_type(uint8_t type) {
  // The order of CUtensorMapDataType.
  constexpr ptx::Type kTypes[] = {
      ptx::Type::kB8,  ptx::Type::kU16, ptx::Type::kU32, ptx::Type::kS32, ptx::Type::kU64,
      ptx::Type::kS64, ptx::Type::kF16, ptx::Type::kF32, ptx::Type::kF64, ptx::Type::kBf16,
      ptx::Type::kF32, ptx::Type::kF32, ptx::Type::kF32};
  return type < std::size(kTypes) ? kTypes[type] : ptx::Type::kB8;
}

/// What lies outside the tensor becomes zero, or the NaN of its type.
void fill_outside(uint8_t* to, const TensorMap& map) {
  std::memset(to, 0, map.element_bytes);
  if (map.nan_fill == 0) return;
  if (map.element_bytes == 2) std::memset(to, 0xff, 2), to[1] = 0x7f;
  if (map.element_bytes == 4) std::memset(to, 0xff, 4), to[3] = 0x7f;
}

/// Calls f(global, offset in the box) for each element; global 0 where it is outside.
template <class F>
void for_elements(const Box& box, F f) {
  const TensorMap& map = box.map;
  uint32_t rows = 1;
  for (int i = 1; i < map.rank; ++i) rows *= map.box[i];
  uint32_t offset = 0;
  for (uint32_t row = 0; row < rows; ++row) {
    uint64_t base = map.address;
    bool is_inside = true;
    uint32_t rest = row;
    for (int i = 1; i < map.rank; ++i) {
      const int64_t at = int64_t{box.at[i]} + int64_t{rest % map.box[i]} * map.element_stride(i);
      rest /= map.box[i];
      is_inside = is_inside && at >= 0 && at < int64_t{map.extents[i]};
      base += static_cast<uint64_t>(at) * map.strides[i - 1];
    }
    for (uint32_t column = 0; column < map.box[0]; ++column, offset += map.element_bytes) {
      const int64_t at = int64_t{box.at[0]} + int64_t{column} * map.element_stride(0);
      const bool has = is_inside && at >= 0 && at < int64_t{map.extents[0]};
      f(has ? base + static_cast<uint64_t>(at) * map.element_bytes : 0, offset);
    }
  }
}

uint8_t* in_shared(uint64_t shared, uint32_t shared_offset, uint32_t offset, const TensorMap& map) {
  // The pattern is that of shared addresses, not of offsets in the box.
  const uint32_t place = swizzled(shared_offset + offset, map.swizzle) - shared_offset;
  return reinterpret_cast<uint8_t*>(shared + place);
}

void load_box(const Box& box, uint64_t shared, uint32_t shared_offset) {
  for_elements(box, [&](uint64_t global, uint32_t offset) {
    uint8_t* to = in_shared(shared, shared_offset, offset, box.map);
    if (global != 0)
      std::memcpy(to, reinterpret_cast<const void*>(global), box.map.element_bytes);
    else
      fill_outside(to, box.map);
  });
}

std::vector<uint8_t> read_box(const Box& box, uint64_t shared, uint32_t shared_offset) {
  std::vector<uint8_t> data(box.map.box_bytes());
  for (uint32_t offset = 0; offset < data.size(); offset += box.map.element_bytes)
    std::memcpy(data.data() + offset, in_shared(shared, shared_offset, offset, box.map),
                box.map.element_bytes);
  return data;
}

void store_box(const Box& box, const std::vector<uint8_t>& data, Reduction reduction) {
  const ptx::Type type = element_type(box.map.element_type);
  for_elements(box, [&](uint64_t global, uint32_t offset) {
    if (global == 0) return;
    auto* to = reinterpret_cast<uint8_t*>(global);
    if (reduction == Reduction::kNone)
      std::memcpy(to, data.data() + offset, box.map.element_bytes);
    else
      reduce_bytes(to, data.data() + offset, box.map.element_bytes, reduction, type);
  });
}

/// Tells the observer of a copy's global side, row by row.
void observe_box(Observer* observer, const std::shared_ptr<Ticket>& ticket, const Box& box,
                 AccessKind kind) {
  uint64_t begin = 0, end = 0;
  const auto flush = [&] {
    if (end > begin)
      observer->engine_access(ticket, begin, static_cast<uint32_t>(end - begin), kind);
  };
  for_elements(box, [&](uint64_t global, uint32_t) {
    if (global == 0) return;
    if (global != end) {
      flush();
      begin = global;
    }
    end = global + box.map.element_bytes;
  });
  flush();
}

/// Reads the lane's map and checks that the GPU may touch what it describes.
Box take_box(Warp& warp, const Op& op, int lane, bool writes) {
  const Slot* slots = warp.lists + op.list;
  Op map_op = op;
  map_op.space = Space::kGeneric;
  map_op.is_wide = true;
  map_op.immediate = op.target;
  Addresses address;
  resolve(warp, map_op, slots[0], 128, 64, false, &address);
  Box box{};
  std::memcpy(&box.map, reinterpret_cast<const void*>(address.lane[lane]), sizeof box.map);
  if (box.map.mark != TensorMap::kMark)
    warp.fault(FaultKind::kIllegalInstruction, "there is no tensor map at this address");
  if (box.map.rank != op.count - 2)
    warp.fault(FaultKind::kIllegalInstruction, "a tensor map of " + std::to_string(box.map.rank) +
                                                   " dimensions where the copy has " +
                                                   std::to_string(op.count - 2));
  for (int i = 0; i < box.map.rank; ++i) box.at[i] = warp.at<int32_t>(slots[2 + i])[lane];
  uint64_t low = ~uint64_t{0}, high = 0;
  for_elements(box, [&](uint64_t global, uint32_t) {
    if (global == 0) return;
    low = std::min(low, global);
    high = std::max(high, global);
  });
  if (high == 0) return box;
  const Region* region = warp.block->machine->memory().find(low);
  const Access access = region == nullptr ? Access::kNone : region->access[warp.block->gpu];
  if (region == nullptr || high + box.map.element_bytes > region->end || access == Access::kNone ||
      (writes && access != Access::kReadWrite))
    warp.fault(FaultKind::kIllegalAddress, "a box of the tensor is not this GPU's memory: " +
                                               warp.block->machine->memory().describe(low));
  return box;
}

/// One lane's copy.
struct TensorCopy {
  Machine* machine;
  Box box;
  Block* owner;       // of the shared memory
  uint64_t shared;    // its host address
  uint32_t offset;    // its shared address
  uint64_t word = 0;  // of the mbarrier, for loads
  std::string place;
  Reduction reduction = Reduction::kNone;
  std::shared_ptr<BulkGroup> group;  // of stores
  Observer* observer = nullptr;
  std::shared_ptr<Ticket> ticket;  // null without an observer
};

void start_load(const TensorCopy& copy) {
  copy.machine->start_engine(copy.owner, [copy] {
    const uint32_t bytes = copy.box.map.box_bytes();
    if (copy.ticket) {
      observe_box(copy.observer, copy.ticket, copy.box, AccessKind::kLoad);
      copy.observer->engine_access(copy.ticket, copy.shared, bytes, AccessKind::kStore);
      copy.observer->engine_signal(copy.ticket, copy.word);
    }
    load_box(copy.box, copy.shared, copy.offset);
    signal_bytes(copy.place, copy.word, bytes);
  });
}

/// Reads at one time and writes at a later one.
void start_store(const TensorCopy& copy) {
  ++copy.group->reading;
  ++copy.group->writing;
  if (copy.ticket) copy.group->tickets.push_back(copy.ticket);
  copy.machine->start_engine(copy.owner, [copy] {
    if (copy.ticket)
      copy.observer->engine_access(copy.ticket, copy.shared, copy.box.map.box_bytes(),
                                   AccessKind::kLoad);
    const std::vector<uint8_t> data = read_box(copy.box, copy.shared, copy.offset);
    --copy.group->reading;
    copy.machine->start_engine(copy.owner, [copy, data] {
      const bool adds = copy.reduction != Reduction::kNone;
      if (copy.ticket)
        observe_box(copy.observer, copy.ticket, copy.box,
                    adds ? AccessKind::kAtomic : AccessKind::kStore);
      store_box(copy.box, data, copy.reduction);
      --copy.group->writing;
    });
  });
}

/// The list: tensor map, mbarrier (kNoSlot for a group), coordinates. op.a: the shared address;
/// op.e: the mbarrier's offset; op.kind 1: to shared memory; op.rounding: the reduction.
Step copy_tensor(Warp& warp, const Op& op) {
  const bool loads = op.kind == 1;
  const uint32_t all = warp.active;
  TW_VGPU_EACH(lane, all) {
    warp.active = uint32_t{1} << lane;
    TensorCopy copy{};
    copy.machine = warp.block->machine;
    copy.box = take_box(warp, op, lane, !loads);
    Addresses shared;
    resolve(warp, op, op.a, copy.box.map.box_bytes(), kSharedAlign, loads, &shared);
    copy.shared = shared.lane[lane];
    copy.owner = owner_of(warp, copy.shared);
    copy.offset =
        static_cast<uint32_t>(copy.shared - reinterpret_cast<uint64_t>(copy.owner->shared));
    copy.place = warp.place();
    copy.observer = warp.block->observer;
    copy.ticket = take_ticket(warp, lane);
    if (!loads) {
      copy.reduction = static_cast<Reduction>(op.rounding);
      const ptx::Type type = element_type(copy.box.map.element_type);
      if (copy.reduction != Reduction::kNone &&
          (type == ptx::Type::kB8 || type == ptx::Type::kU16 || type == ptx::Type::kF64))
        warp.fault(FaultKind::kIllegalInstruction, std::string("a reduction into a tensor of .") +
                                                       ptx::name_of(type) +
                                                       ": valid are u32 s32 u64 s64 f16 bf16 f32");
      copy.group = open_group(warp, lane);
      start_store(copy);
      continue;
    }
    Op bar_op = op;
    bar_op.immediate = static_cast<int64_t>(op.e);
    Addresses bar;
    resolve(warp, bar_op, warp.lists[op.list + 1], 8, 8, true, &bar);
    copy.word = bar.lane[lane];
    start_load(copy);
  }
  warp.active = all;
  return Step::kNext;
}

}  // namespace

void decode_tensor(Form& form, bool reduces) {
  const int rank = 1 + form.take_one({"1d", "2d", "3d", "4d", "5d"});
  const bool loads =
      form.statement().opcode.find(".global") > form.statement().opcode.find(".shared::");
  if (!form.take("global")) form.fail("one end must be in global memory");
  if (!form.take("shared::cluster") && !form.take("shared::cta"))
    form.fail("one end must be in shared memory");
  if (loads && reduces) form.fail("reductions go to global memory");
  form.take("tile");
  if (form.take("multicast::cluster")) form.fail(".multicast::cluster is not supported");
  const bool has_policy = form.take("L2::cache_hint");
  if (loads && !form.take("mbarrier::complete_tx::bytes")) form.fail("an mbarrier is missing");
  if (!loads && !form.take("bulk_group")) form.fail(".bulk_group is missing");
  if (reduces) form.op.rounding = static_cast<uint8_t>(take_reduction(form));
  const size_t tensor = loads ? 1 : 0, shared = loads ? 0 : 1;
  const Operand& whole = form.operand(tensor);
  if (whole.kind != Operand::Kind::kAddress || whole.parts.size() != 2 ||
      whole.parts[1].parts.size() != static_cast<size_t>(rank))
    form.fail("[map, {coordinates}] must stand here");
  Slot map = kNoSlot;
  bool is_wide = false;
  form.address(whole.parts[0], whole, &map, &is_wide);
  form.op.target = static_cast<int32_t>(whole.offset);
  if (!is_wide) form.fail("the address of a tensor map has 64 bits");
  std::vector<Slot> slots = {map, kNoSlot};
  if (loads) {
    const Operand& bar = form.operand(2);
    if (bar.kind != Operand::Kind::kAddress) form.fail("an [mbarrier] must stand here");
    slots[1] = form.in(bar.parts[0], 4);
    form.op.e = static_cast<uint32_t>(bar.offset);
  }
  for (const Operand& coordinate : whole.parts[1].parts) slots.push_back(form.in(coordinate, 4));
  form.list(slots);
  const Operand& place = form.operand(shared);
  if (place.kind != Operand::Kind::kAddress) form.fail("a shared [address] must stand here");
  form.op.a = form.in(place.parts[0], 4);
  form.op.immediate = place.offset;
  form.op.is_wide = false;
  form.op.space = Space::kShared;
  form.op.kind = loads ? 1 : 0;
  const size_t operands = loads ? 3 : 2;
  if (has_policy) form.in(operands, 8);
  form.emit(copy_tensor, has_policy ? operands + 1 : operands);
}

}  // namespace tw::vgpu
