#include "lib/vgpu/sim/block.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "lib/vgpu/sim/machine.h"
#include "lib/vgpu/sim/observer.h"

namespace tw::vgpu {
namespace {

constexpr size_t kAlign = 1024;
constexpr uint8_t kPoison = 0xcb;  // what nobody wrote shows

size_t rounded(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

struct Layout {
  size_t registers, predicates, local, shared, warps;
  size_t warp() const { return registers + predicates + local; }
  size_t total() const { return warp() * warps + shared; }
};

Layout layout_of(const Launch& launch) {
  const Program& program = launch.program();
  Layout layout{};
  layout.registers = rounded(program.frame_bytes);
  layout.predicates = rounded(size_t{program.predicates} * 4);
  layout.local = rounded(size_t{program.local_bytes} * kLanes);
  layout.shared = kSharedBase + rounded(size_t{program.shared_bytes} + program.shared_align +
                                        launch.dynamic_shared);
  layout.warps = (launch.block.product() + kLanes - 1) / kLanes;
  return layout;
}

Dim3 coordinates(uint64_t number, const Dim3& extent) {
  return {static_cast<uint32_t>(number % extent.x),
          static_cast<uint32_t>(number / extent.x % extent.y),
          static_cast<uint32_t>(number / extent.x / extent.y)};
}

/// The value of a special register for `lane` of `warp`.
uint32_t special_value(Special special, const Block& block, const Warp& warp, uint32_t lane) {
  const Launch& launch = *block.launch;
  const Dim3 thread = coordinates(static_cast<uint64_t>(warp.index) * kLanes + lane, launch.block);
  const Dim3& c = launch.cluster;
  const uint32_t bit = uint32_t{1} << lane;
  switch (special) {
    case Special::kTidX:
      return thread.x;
    case Special::kTidY:
      return thread.y;
    case Special::kTidZ:
      return thread.z;
    case Special::kNtidX:
      return launch.block.x;
    case Special::kNtidY:
      return launch.block.y;
    case Special::kNtidZ:
      return launch.block.z;
    case Special::kCtaidX:
      return block.index.x;
    case Special::kCtaidY:
      return block.index.y;
    case Special::kCtaidZ:
      return block.index.z;
    case Special::kNctaidX:
      return launch.grid.x;
    case Special::kNctaidY:
      return launch.grid.y;
    case Special::kNctaidZ:
      return launch.grid.z;
    case Special::kLaneid:
      return lane;
    case Special::kWarpid:
      return static_cast<uint32_t>(warp.index);
    case Special::kNwarpid:
      return kSmThreads / kLanes;
    case Special::kSmid:
      return static_cast<uint32_t>(block.number % block.machine->sms());
    case Special::kNsmid:
      return static_cast<uint32_t>(block.machine->sms());
    case Special::kGridid:
      return static_cast<uint32_t>(launch.id);
    case Special::kLanemaskEq:
      return bit;
    case Special::kLanemaskLt:
      return bit - 1;
    case Special::kLanemaskLe:
      return bit | (bit - 1);
    case Special::kLanemaskGt:
      return ~(bit | (bit - 1));
    case Special::kLanemaskGe:
      return ~(bit - 1);
    case Special::kClusteridX:
      return block.index.x / c.x;
    case Special::kClusteridY:
      return block.index.y / c.y;
    case Special::kClusteridZ:
      return block.index.z / c.z;
    case Special::kNclusteridX:
      return launch.grid.x / c.x;
    case Special::kNclusteridY:
      return launch.grid.y / c.y;
    case Special::kNclusteridZ:
      return launch.grid.z / c.z;
    case Special::kClusterCtaidX:
      return block.index.x % c.x;
    case Special::kClusterCtaidY:
      return block.index.y % c.y;
    case Special::kClusterCtaidZ:
      return block.index.z % c.z;
    case Special::kClusterNctaidX:
      return c.x;
    case Special::kClusterNctaidY:
      return c.y;
    case Special::kClusterNctaidZ:
      return c.z;
    case Special::kClusterCtarank:
      return block.cluster_rank;
    case Special::kClusterNctarank:
      return static_cast<uint32_t>(c.product());
    case Special::kDynamicSmemSize:
      return launch.dynamic_shared;
    case Special::kTotalSmemSize:
      return block.shared_end - kSharedBase;
  }
  return 0;
}

void set_up_warp(Block* block, int index, const Layout& layout) {
  const Launch& launch = *block->launch;
  const Program& program = launch.program();
  Warp& warp = block->warps[static_cast<size_t>(index)];
  uint8_t* base =
      block->storage->data() + layout.shared + layout.warp() * static_cast<size_t>(index);
  warp.block = block;
  warp.program = &program;
  warp.index = index;
  warp.code = program.code.data();
  warp.lists = program.lists.data();
  warp.bank[0] = base;
  warp.bank[1] = const_cast<uint8_t*>(launch.loaded->constants.data());
  warp.predicates = reinterpret_cast<uint32_t*>(base + layout.registers);
  warp.predicates[0] = kAllLanes;
  warp.local = base + layout.registers + layout.predicates;
  warp.local_stride = program.local_bytes;
  const uint32_t left = block->threads - static_cast<uint32_t>(index) * kLanes;
  warp.live = left >= kLanes ? kAllLanes : (uint32_t{1} << left) - 1;
  warp.mask = warp.live;
  for (const SpecialSlot& special : program.specials)
    for (uint32_t lane = 0; lane < kLanes; ++lane)
      warp.at<uint32_t>(special.slot)[lane] = special_value(special.special, *block, warp, lane);
}

}  // namespace

BlockStorage::BlockStorage(size_t bytes) : bytes_(rounded(bytes)) {
  void* memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<uint8_t*>(memory);
}

BlockStorage::~BlockStorage() { ::munmap(data_, bytes_); }

size_t storage_bytes(const Launch& launch) { return layout_of(launch).total(); }

std::unique_ptr<Block> make_block(Machine* machine, Launch* launch, uint64_t number,
                                  std::unique_ptr<BlockStorage> storage) {
  const Layout layout = layout_of(*launch);
  auto block = std::make_unique<Block>();
  block->machine = machine;
  block->launch = launch;
  block->gpu = launch->gpu;
  block->gpu_count = machine->gpus();
  block->number = number;
  block->index = coordinates(number, launch->grid);
  block->threads = static_cast<uint32_t>(launch->block.product());
  block->storage = std::move(storage);
  block->shared = block->storage->data();
  block->shared_end = kSharedBase + launch->program().shared_bytes;
  if (launch->dynamic_shared > 0) {
    const uint32_t align = launch->program().shared_align;
    block->shared_end = (block->shared_end + align - 1) / align * align + launch->dynamic_shared;
  }
  std::memset(block->shared + kSharedBase, kPoison, block->shared_end - kSharedBase);
  block->warps.resize(layout.warps);
  block->warpgroups.resize((layout.warps + 3) / 4);
  block->live_warps = static_cast<int>(layout.warps);
  for (size_t i = 0; i < layout.warps; ++i) set_up_warp(block.get(), static_cast<int>(i), layout);
  return block;
}

uint32_t Block::live_threads() const {
  uint32_t count = 0;
  for (const Warp& warp : warps)
    if (warp.live != 0) count += kLanes;
  return count;
}

void Block::arrive(int number, uint32_t threads, uint32_t expected) {
  NamedBarrier& barrier = barriers[number];
  if (barrier.arrived == 0) barrier.expected = expected;
  barrier.arrived += threads;
  release_if_complete(&barrier);
}

void Block::recheck_barriers() {
  for (NamedBarrier& barrier : barriers)
    if (barrier.arrived > 0 && barrier.expected == 0) release_if_complete(&barrier);
}

void Block::release_if_complete(NamedBarrier* barrier) {
  const uint32_t needed = barrier->expected > 0 ? barrier->expected : live_threads();
  if (barrier->arrived < needed || needed == 0) return;
  if (observer != nullptr) observer->barrier(this, *barrier);
  const std::vector<Warp*> waiting = std::move(barrier->waiting);
  for (Warp* warp : waiting) {
    const Op& op = *warp->waiting_at;
    warp->active = warp->waiting_lanes;
    if (op.kind == kWhetherAll) warp->set_predicate(op.d, barrier->all ? kAllLanes : 0);
    if (op.kind == kWhetherAny) warp->set_predicate(op.d, barrier->any ? kAllLanes : 0);
    if (op.kind == kHowMany)
      for (int lane = 0; lane < kLanes; ++lane)
        if (warp->active >> lane & 1) warp->at<uint32_t>(op.d)[lane] = barrier->count;
    warp->waiting_at = nullptr;
    machine->make_ready(warp);
  }
  *barrier = NamedBarrier();
  machine->note_progress();
}

}  // namespace tw::vgpu
