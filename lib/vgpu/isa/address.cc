#include "lib/vgpu/isa/address.h"

#include <algorithm>
#include <bit>

#include "lib/vgpu/isa/lanes.h"

namespace tw::vgpu {
namespace {

/// Whether [begin, end) is within a region that the warp's GPU may access; remembers the region.
bool may_reach(Warp& warp, uint64_t begin, uint64_t end, bool writes) {
  Memory& memory = warp.block->machine->memory();
  ReachCache& cache = warp.reach;
  if (cache.epoch != memory.epoch()) {
    cache = ReachCache();
    cache.epoch = memory.epoch();
  }
  for (const ReachCache::Entry& entry : cache.entries)
    if (begin >= entry.begin && end <= entry.end && (entry.writes || !writes)) return true;
  const Region* region = memory.find(begin);
  if (region == nullptr || end > region->end || !region->replicas.empty()) return false;
  const Access access = region->access[warp.block->gpu];
  if (access == Access::kNone || (writes && access != Access::kReadWrite)) return false;
  cache.entries[cache.next] = {region->begin, region->end, access == Access::kReadWrite};
  cache.next = (cache.next + 1) % ReachCache::kEntries;
  return true;
}

bool within(uint64_t address, uint32_t bytes, uint64_t begin, uint64_t size) {
  return address >= begin && address - begin + bytes <= size;
}

/// is_own without the rest of the cluster: what generic addresses are, most of the time.
bool is_near(const Warp& warp, uint64_t address, uint32_t bytes, bool writes) {
  const Block& block = *warp.block;
  const auto& parameters = block.launch->parameters;
  return within(address, bytes, reinterpret_cast<uint64_t>(block.shared) + kSharedBase,
                block.shared_end - kSharedBase) ||
         (!writes &&
          within(address, bytes, reinterpret_cast<uint64_t>(parameters.data()), parameters.size()));
}

/// Whether a generic address is the lane's own local memory, a block's shared memory or a
/// parameter.
bool is_own(const Warp& warp, uint64_t address, uint32_t bytes, bool writes) {
  const Block& block = *warp.block;
  const auto shared_of = [&](const Block& of) {
    return within(address, bytes, reinterpret_cast<uint64_t>(of.shared) + kSharedBase,
                  of.shared_end - kSharedBase);
  };
  if (shared_of(block)) return true;
  if (within(address, bytes, reinterpret_cast<uint64_t>(warp.local),
             uint64_t{warp.local_stride} * kLanes))
    return true;
  const auto& parameters = block.launch->parameters;
  if (!writes &&
      within(address, bytes, reinterpret_cast<uint64_t>(parameters.data()), parameters.size()))
    return true;
  return std::any_of(block.cluster->blocks.begin(), block.cluster->blocks.end(),
                     [&](const Block* other) { return other != nullptr && shared_of(*other); });
}

std::string illegal_text(const Warp& warp, uint64_t address, uint32_t bytes, bool writes) {
  const Memory& memory = warp.block->machine->memory();
  const Region* region = memory.find(address);
  std::string text = std::string(writes ? "a store of " : "a load of ") + std::to_string(bytes) +
                     " bytes at an address that ";
  if (region != nullptr && !region->replicas.empty())
    text += "is multicast, which only multimem instructions may access: ";
  else if (region != nullptr && address + bytes <= region->end)
    text += "this GPU has no right to: ";
  else
    text += "is not its memory: ";
  return text + memory.describe(address);
}

void check_alignment(const Warp& warp, const Addresses& addresses, uint32_t align) {
  uint64_t all = 0;
  TW_VGPU_EACH(lane, warp.active) all |= addresses.lane[lane];
  if ((all & (align - 1)) == 0) return;
  TW_VGPU_EACH(lane, warp.active) {
    if ((addresses.lane[lane] & (align - 1)) == 0) continue;
    warp.fault(FaultKind::kMisalignedAddress,
               "lane " + std::to_string(lane) + " accesses an address that is no multiple of " +
                   std::to_string(align) + " (" +
                   std::to_string(addresses.lane[lane] & (align - 1)) + " bytes after one)");
  }
}

void resolve_shared(Warp& warp, uint32_t bytes, Addresses* addresses) {
  Block* own = warp.block;
  TW_VGPU_EACH(lane, warp.active) {
    const auto address = static_cast<uint32_t>(addresses->lane[lane]);
    uint32_t offset = address;
    Block* block = own;
    if (address >= own->shared_end) block = block_of_shared(warp, address, &offset);
    if (block == nullptr || offset < kSharedBase || uint64_t{offset} + bytes > block->shared_end)
      warp.fault(FaultKind::kIllegalAddress,
                 "lane " + std::to_string(lane) + " accesses " + std::to_string(bytes) +
                     " bytes at shared address " + std::to_string(address) + "; the block has " +
                     std::to_string(kSharedBase) + " to " + std::to_string(own->shared_end - 1));
    addresses->lane[lane] = reinterpret_cast<uint64_t>(block->shared) + offset;
  }
}

void resolve_global(Warp& warp, uint32_t bytes, bool writes, Space space, Addresses* addresses) {
  uint64_t low = ~uint64_t{0}, high = 0;
  TW_VGPU_EACH(lane, warp.active) {
    low = std::min(low, addresses->lane[lane]);
    high = std::max(high, addresses->lane[lane]);
  }
  const bool is_range = high + bytes > high;
  const auto span = static_cast<uint32_t>(std::min<uint64_t>(high - low + bytes, UINT32_MAX));
  if (space != Space::kGlobal && is_range && is_near(warp, low, span, writes)) return;
  if (is_range && may_reach(warp, low, high + bytes, writes)) return;
  TW_VGPU_EACH(lane, warp.active) {
    const uint64_t address = addresses->lane[lane];
    if (address + bytes > address && may_reach(warp, address, address + bytes, writes)) continue;
    if (space != Space::kGlobal && is_own(warp, address, bytes, writes)) continue;
    warp.fault(FaultKind::kIllegalAddress,
               "lane " + std::to_string(lane) + ": " + illegal_text(warp, address, bytes, writes));
  }
}

void resolve_local(Warp& warp, uint32_t bytes, Addresses* addresses) {
  TW_VGPU_EACH(lane, warp.active) {
    const uint64_t offset = addresses->lane[lane];
    if (offset + bytes > warp.local_stride || offset + bytes < offset)
      warp.fault(FaultKind::kIllegalAddress, "local offset " + std::to_string(offset) + " of " +
                                                 std::to_string(warp.local_stride) + " bytes");
    addresses->lane[lane] = reinterpret_cast<uint64_t>(warp.local) +
                            uint64_t{warp.local_stride} * static_cast<uint64_t>(lane) + offset;
  }
}

}  // namespace

Block* block_of_shared(Warp& warp, uint32_t address, uint32_t* offset) {
  const Cluster* cluster = warp.block->cluster.get();
  const uint32_t rank = (address >> 24) - 1;
  *offset = address & 0xffffff;
  if (cluster == nullptr || address >> 24 == 0 || rank >= cluster->blocks.size()) return nullptr;
  return cluster->blocks[rank];
}

void resolve(Warp& warp, const Op& op, Slot slot, uint32_t bytes, uint32_t align, bool writes,
             Addresses* addresses) {
  const auto offset = static_cast<uint64_t>(op.immediate);
  if (op.is_wide) {
    const auto* base = warp.at<uint64_t>(slot);
    for_lanes(warp, addresses->lane, [=](int lane) { return base[lane] + offset; });
  } else {
    const auto* base = warp.at<uint32_t>(slot);
    // Where addresses have 32 bits (shared, local) so have their sums.
    for_lanes(warp, addresses->lane,
              [=](int lane) { return uint64_t{base[lane] + static_cast<uint32_t>(offset)}; });
  }
  if (align > 1) check_alignment(warp, *addresses, align);
  switch (op.space) {
    case Space::kShared:
      return resolve_shared(warp, bytes, addresses);
    case Space::kLocal:
      return resolve_local(warp, bytes, addresses);
    default:
      return resolve_global(warp, bytes, writes, op.space, addresses);
  }
}

Space take_space(Form& form, Space otherwise) {
  if (form.take("global")) return Space::kGlobal;
  if (form.take("shared") || form.take("shared::cta") || form.take("shared::cluster"))
    return Space::kShared;
  if (form.take("local")) return Space::kLocal;
  if (form.take("param") || form.take("param::entry") || form.take("param::func"))
    return Space::kParam;
  if (form.take("const")) return Space::kConst;
  return otherwise;
}

void take_order(Form& form, Order order, Scope scope) {
  constexpr Order kOrders[] = {Order::kWeak,      Order::kVolatile, Order::kRelaxed,
                               Order::kAcquire,   Order::kRelease,  Order::kAcquireRelease,
                               Order::kSequential};
  form.op.order =
      kOrders[form.take_one({"weak", "volatile", "relaxed", "acquire", "release", "acq_rel", "sc"},
                            static_cast<int>(order))];
  constexpr Scope kScopes[] = {Scope::kCta, Scope::kCluster, Scope::kGpu, Scope::kSystem};
  form.op.scope = kScopes[form.take_one({"cta", "cluster", "gpu", "sys"}, static_cast<int>(scope))];
}

}  // namespace tw::vgpu
