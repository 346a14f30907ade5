// Collective kernels' entries on thread ranks over memory laid out by hand: calls, what must come
// out of them, guarded buffers. Nothing here is the library's host code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "lib/device/device.h"
#include "tests/support/kernel_ranks.h"

namespace tw::test {

enum class CollMemory { kPrivate, kWindow, kMixed };

/// One call, equal on all ranks.
struct CollPlan {
  CollOp call = kAllReduce;
  CollAlgo algo = CollAlgo::kPacket;
  StorePolicy store = StorePolicy::kPlain;
  CollMemory memory = CollMemory::kPrivate;
  tw_type_t type = TW_FP32;
  tw_op_t op = TW_SUM;
  bool scaled = false;
  bool in_place = false;
  int root = 0;
  size_t count = 0;
  size_t chunk = 0;
  uint64_t seed = 0;
  uint16_t digest_step = 0;  // by which a rank's digest differs from the one before it
};

/// The entry that carries out a call.
using CollEntries = std::function<CpuEntry(CollOp)>;
/// Of the fastest CPU target of this machine and build: its code is what users run.
CollEntries cpu_coll_entries();

/// Runs the plans as consecutive calls of one comm, each block on a thread of its own if so wished,
/// and checks what came out. Returns what the comm failed with, if it did.
[[nodiscard]] tw_status_t run_plans(const WorldShape& shape, const std::vector<CollPlan>& plans,
                                    bool block_threads, const CollEntries& entries);

/// Small enough that pipelines wrap.
WorldShape coll_shape(int ranks, int blocks);
/// Elements of the largest message that an algorithm of this world carries, within reason.
size_t most_elements(const WorldShape& shape, const CollPlan& plan,
                     const Framing& framing = kCpuFraming);

inline constexpr CollAlgo kCollAlgos[] = {CollAlgo::kPacket, CollAlgo::kSlot, CollAlgo::kPull,
                                          CollAlgo::kDirect};
bool is_valid(CollOp call, CollAlgo algo);
bool can_be_in_place(CollOp call);
CollPlan random_plan(std::mt19937_64& random, const WorldShape& shape,
                     const Framing& framing = kCpuFraming);

}  // namespace tw::test
