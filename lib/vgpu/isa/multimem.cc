// multimem: one address stands for the memory of all members of a multicast object.
#include <algorithm>
#include <cstring>

#include "lib/vgpu/isa/address.h"
#include "lib/vgpu/isa/bulk.h"
#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/floats.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/sim/observer.h"

namespace tw::vgpu {
namespace {

/// The members' addresses for one lane.
std::vector<uint64_t> replicas(Warp& warp, uint64_t address, uint32_t bytes, bool writes) {
  const Region* region = warp.block->machine->memory().find(address);
  const Access access = region == nullptr ? Access::kNone : region->access[warp.block->gpu];
  if (region == nullptr || region->replicas.empty() || address + bytes > region->end ||
      access == Access::kNone || (writes && access != Access::kReadWrite))
    warp.fault(FaultKind::kIllegalAddress,
               "multimem at an address that is no multicast memory of this GPU: " +
                   warp.block->machine->memory().describe(address));
  std::vector<uint64_t> result;
  for (const uint64_t begin : region->replicas) result.push_back(begin + address - region->begin);
  return result;
}

void observe(Warp& warp, const Op& op, int lane, const std::vector<uint64_t>& members,
             uint32_t bytes, AccessKind kind) {
  if (warp.block->observer == nullptr) return;
  const uint32_t all = warp.active;
  warp.active = uint32_t{1} << lane;
  for (const uint64_t member : members) {
    Addresses addresses;
    addresses.lane[lane] = member;
    warp.block->observer->access(warp, op, addresses.lane, bytes, kind);
  }
  warp.active = all;
}

uint64_t lane_address(const Warp& warp, const Op& op, int lane, uint32_t bytes) {
  const uint64_t address = warp.at<uint64_t>(op.a)[lane] + static_cast<uint64_t>(op.immediate);
  if (address % bytes != 0)
    warp.fault(FaultKind::kMisalignedAddress,
               "an address that is no multiple of " + std::to_string(bytes));
  return address;
}

/// Sums of the 16-bit formats with .acc::f32 are rounded once; others after each member.
void combine(uint8_t* to, const uint8_t* from, const Op& op, uint32_t bytes) {
  reduce_bytes(to, from, bytes, static_cast<Reduction>(op.kind),
               static_cast<ptx::Type>(op.target & 255));
}

float wide(uint16_t bits, bool is_half) { return is_half ? from_half(bits) : from_bfloat(bits); }

Step load_reduce(Warp& warp, const Op& op) {
  const uint32_t bytes = uint32_t{op.bytes} * op.count;
  TW_VGPU_EACH(lane, warp.active) {
    const uint64_t address = lane_address(warp, op, lane, bytes);
    const std::vector<uint64_t> members = replicas(warp, address, bytes, false);
    observe(warp, op, lane, members, bytes, AccessKind::kLoad);
    uint8_t result[16];
    const bool is_small = (op.target & 256) != 0;
    if (is_small) {
      const bool is_half = static_cast<ptx::Type>(op.target & 255) == ptx::Type::kF16;
      for (uint32_t i = 0; i < bytes; i += 2) {
        float sum = 0;
        for (size_t member = 0; member < members.size(); ++member) {
          uint16_t bits;
          std::memcpy(&bits, reinterpret_cast<const void*>(members[member] + i), 2);
          const float value = wide(bits, is_half);
          sum = member == 0                                          ? value
                : static_cast<Reduction>(op.kind) == Reduction::kAdd ? sum + value
                : static_cast<Reduction>(op.kind) == Reduction::kMin ? std::min(sum, value)
                                                                     : std::max(sum, value);
        }
        const auto bits = static_cast<uint16_t>(is_half ? to_half(sum) : to_bfloat(sum));
        std::memcpy(result + i, &bits, 2);
      }
    } else {
      std::memcpy(result, reinterpret_cast<const void*>(members[0]), bytes);
      for (size_t member = 1; member < members.size(); ++member)
        combine(result, reinterpret_cast<const uint8_t*>(members[member]), op, bytes);
    }
    for (int i = 0; i < op.count; ++i)
      std::memcpy(
          warp.at<uint8_t>(warp.lists[op.list + static_cast<uint32_t>(i)]) + lane * op.bytes,
          result + i * op.bytes, op.bytes);
  }
  return Step::kYield;
}

template <bool kReduces>
Step store(Warp& warp, const Op& op) {
  const uint32_t bytes = uint32_t{op.bytes} * op.count;
  TW_VGPU_EACH(lane, warp.active) {
    const uint64_t address = lane_address(warp, op, lane, bytes);
    const std::vector<uint64_t> members = replicas(warp, address, bytes, true);
    observe(warp, op, lane, members, bytes, kReduces ? AccessKind::kAtomic : AccessKind::kStore);
    uint8_t values[16];
    for (int i = 0; i < op.count; ++i)
      std::memcpy(
          values + i * op.bytes,
          warp.at<uint8_t>(warp.lists[op.list + static_cast<uint32_t>(i)]) + lane * op.bytes,
          op.bytes);
    for (const uint64_t member : members) {
      auto* to = reinterpret_cast<uint8_t*>(member);
      if (kReduces)
        combine(to, values, op, bytes);
      else
        std::memcpy(to, values, bytes);
    }
  }
  warp.block->machine->note_progress();
  return Step::kYield;
}

void decode(Form& form) {
  const int what = form.take_one({"ld_reduce", "st", "red"});
  take_order(form, what == 2 ? Order::kRelaxed : Order::kWeak);
  form.op.space = take_space(form, Space::kGeneric);
  if (form.op.space != Space::kGlobal && form.op.space != Space::kGeneric)
    form.fail("multicast memory is global");
  if (what != 1) form.op.kind = static_cast<uint8_t>(take_reduction(form));
  const bool is_wide_sum = form.take("acc::f32");
  constexpr int kCounts[] = {2, 4, 8, 1};
  const int count = kCounts[form.take_one({"v2", "v4", "v8"}, 3)];
  const Type type = form.type();
  const int bytes = ptx::bytes_of(type);
  if (bytes * count > 16) form.fail("more than 16 bytes");
  // Pairs are two numbers side by side.
  const Type element = type == Type::kF16x2    ? Type::kF16
                       : type == Type::kBf16x2 ? Type::kBf16
                                               : type;
  const bool is_small = element == Type::kF16 || element == Type::kBf16;
  if (is_wide_sum && !is_small) form.fail(".acc::f32 is for 16-bit floats");
  form.op.target = static_cast<int32_t>(element) | (is_wide_sum ? 256 : 0);
  form.op.bytes = static_cast<uint8_t>(bytes);
  std::vector<Slot> registers;
  for (const ptx::Operand& part : form.parts(what == 0 ? 0 : 1))
    registers.push_back(what == 0 ? form.out(part, bytes) : form.in(part, bytes));
  if (static_cast<int>(registers.size()) != count) form.fail("a register for each element");
  form.list(registers);
  form.address(what == 0 ? 1 : 0);
  if (!form.op.is_wide) form.fail("a multicast address has 64 bits");
  form.emit(what == 0 ? load_reduce : what == 1 ? store<false> : Run{store<true>}, 2);
}

}  // namespace

const Row kMultimemRows[] = {{"multimem", decode}, {}};

}  // namespace tw::vgpu
