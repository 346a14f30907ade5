// Clusters: addresses of other blocks' shared memory, and the barrier of all.
#include "lib/vgpu/isa/cluster.h"

#include "lib/vgpu/isa/address.h"
#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/sim/observer.h"

namespace tw::vgpu {
namespace {

/// op.kind 1: generic addresses, which are the host's.
Step map_address(Warp& warp, const Op& op) {
  const Cluster& cluster = *warp.block->cluster;
  const auto* rank = warp.at<uint32_t>(op.b);
  TW_VGPU_EACH(lane, warp.active) {
    if (rank[lane] >= cluster.blocks.size())
      warp.fault(FaultKind::kIllegalInstruction, "mapa to block " + std::to_string(rank[lane]) +
                                                     " of a cluster of " +
                                                     std::to_string(cluster.blocks.size()));
    const Block* block = cluster.blocks[rank[lane]];
    if (block == nullptr)
      warp.fault(FaultKind::kIllegalAddress, "mapa to a block of the cluster that has exited");
    if (op.kind == 1) {
      const uint64_t offset =
          warp.at<uint64_t>(op.a)[lane] - reinterpret_cast<uint64_t>(warp.block->shared);
      warp.at<uint64_t>(op.d)[lane] = reinterpret_cast<uint64_t>(block->shared) + offset;
    } else {
      const uint32_t offset = warp.at<uint32_t>(op.a)[lane] & 0xffffff;
      warp.at<uint32_t>(op.d)[lane] = (rank[lane] + 1) << 24 | offset;
    }
  }
  return Step::kNext;
}

Step rank_of(Warp& warp, const Op& op) {
  TW_VGPU_EACH(lane, warp.active) {
    const uint32_t address = warp.at<uint32_t>(op.a)[lane];
    warp.at<uint32_t>(op.d)[lane] =
        address >> 24 == 0 ? warp.block->cluster_rank : (address >> 24) - 1;
  }
  return Step::kNext;
}

Step arrive(Warp& warp, const Op&) {
  if (warp.mask != warp.live) return Step::kPark;
  if (warp.in_cluster_barrier)
    warp.fault(FaultKind::kIllegalInstruction, "a second barrier.cluster.arrive before a wait");
  Cluster& cluster = *warp.block->cluster;
  warp.in_cluster_barrier = true;
  warp.cluster_phase = cluster.phase;
  ++cluster.arrived;
  if (cluster.advance_if_complete() && warp.block->observer != nullptr)
    warp.block->observer->cluster_barrier(warp.block);
  warp.block->machine->note_progress();
  return Step::kNext;
}

Step wait(Warp& warp, const Op&) {
  if (warp.mask != warp.live) return Step::kPark;
  if (!warp.in_cluster_barrier)
    warp.fault(FaultKind::kIllegalInstruction, "barrier.cluster.wait without an arrive");
  if (warp.block->cluster->phase == warp.cluster_phase) return Step::kRetry;
  warp.in_cluster_barrier = false;
  return Step::kNext;
}

void mapa(Form& form) {
  const bool is_shared = form.take("shared::cluster");
  const Type type = form.type();
  if (is_shared != (type == Type::kU32)) form.fail("mapa.shared::cluster.u32 or mapa.u64 is meant");
  form.op.kind = is_shared ? 0 : 1;
  form.op.d = form.out(0, is_shared ? 4 : 8);
  form.op.a = form.in(1, is_shared ? 4 : 8);
  form.op.b = form.in(2, 4);
  form.emit(map_address, 3);
}

void getctarank(Form& form) {
  if (!form.take("shared::cluster") || form.type() != Type::kU32)
    form.fail("getctarank.shared::cluster.u32 is meant");
  form.op.d = form.out(0, 4);
  form.op.a = form.in(1, 4);
  form.emit(rank_of, 2);
}

}  // namespace

void decode_cluster_barrier(Form& form) {
  const bool arrives = form.take_one({"arrive", "wait"}) == 0;
  take_order(form, arrives ? Order::kRelease : Order::kAcquire, Scope::kCluster);
  form.take("aligned");
  form.emit(arrives ? arrive : wait, 0);
}

const Row kClusterRows[] = {{"mapa", mapa}, {"getctarank", getctarank}, {}};

}  // namespace tw::vgpu
