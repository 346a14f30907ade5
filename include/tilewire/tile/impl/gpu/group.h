// Groups and words of the device views on GPUs. Contracts: tile/group.h, signal_device.h.
//
// release: barrier of the group, then in lane 0 a system fence (cumulative over what the barrier
// ordered before it) and a relaxed store. acquire: lane 0 polls relaxed and fences once, and the
// barrier that spreads the result orders the others.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/ptx/memory.h"
#include "tilewire/tile/impl/gpu/ptx/signal.h"
#include "tilewire/tile/impl/gpu/shared.h"

namespace TW_NS {

struct ThisThread {
  TW_FN int lane() const { return 0; }
  TW_FN int lanes() const { return 1; }
  TW_FN void sync() const {}
  TW_FN bool all(bool ok) const { return ok; }
  TW_FN uint64_t from_first(uint64_t value) const { return value; }
};

struct ThisBlock {
  TW_FN int lane() const {
    return static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
  }
  TW_FN int lanes() const { return static_cast<int>(blockDim.x * blockDim.y * blockDim.z); }
  TW_FN void sync() const { __syncthreads(); }
  TW_FN bool all(bool ok) const { return __syncthreads_and(ok) != 0; }
  TW_FN uint64_t from_first(uint64_t value) const {
    __syncthreads();  // all have read an earlier value
    if (lane() == 0) shared().word = value;
    __syncthreads();
    return shared().word;
  }
};

struct ThisWarp {
  TW_FN int lane() const { return ThisBlock().lane() % 32; }
  TW_FN int lanes() const { return 32; }
  TW_FN void sync() const { __syncwarp(); }
  TW_FN bool all(bool ok) const {
    const bool result = __all_sync(~0u, ok) != 0;
    __syncwarp();  // votes do not order memory
    return result;
  }
  TW_FN uint64_t from_first(uint64_t value) const {
    const uint64_t first = __shfl_sync(~0u, value, 0);
    __syncwarp();
    return first;
  }
};

/// The words and waits of one block. All its threads make it, before any waits.
class BlockWords {
 public:
  TW_FN BlockWords(WaitContext* wait, const char* name, int block) {
    __syncthreads();
    if (ThisBlock().lane() == 0) {
      shared().wait = wait;
      shared().name = name;
      shared().index = block;
    }
    __syncthreads();
  }

  /// By 16 bytes where both addresses allow it, else byte by byte.
  template <class Group>
  TW_FN static void copy(Group group, void* to_memory, const void* from_memory, size_t bytes) {
    Byte* const to = static_cast<Byte*>(to_memory);
    const Byte* const from = static_cast<const Byte*>(from_memory);
    const size_t lane = static_cast<size_t>(group.lane()), lanes = group.lanes();
    const size_t head_wanted = -reinterpret_cast<uintptr_t>(to) % 16;
    const size_t head = head_wanted < bytes ? head_wanted : bytes;
    const bool wide = reinterpret_cast<uintptr_t>(from + head) % 16 == 0;
    const size_t units = wide ? (bytes - head) / 16 : 0;
    for (size_t i = lane; i < head; i += lanes) to[i] = from[i];
    for (size_t u = lane; u < units; u += lanes)
      reinterpret_cast<uint4*>(to + head)[u] = reinterpret_cast<const uint4*>(from + head)[u];
    for (size_t i = head + 16 * units + lane; i < bytes; i += lanes) to[i] = from[i];
  }

  template <class Group>
  TW_FN static void store_release(Group group, uint64_t* word, uint64_t value) {
    group.sync();
    if (group.lane() != 0) return;
    ptx::fence_acq_rel_sys();
    ptx::store_relaxed_sys(word, value);
  }

  TW_FN static uint64_t fetch_add(uint64_t* word, uint64_t value) {
    return ptx::add_acq_rel_sys(word, value);
  }

  TW_FN static uint64_t compare_swap(uint64_t* word, uint64_t expected, uint64_t desired) {
    return ptx::compare_exchange_acq_rel_sys(word, expected, desired);
  }

  template <class Group>
  TW_FN bool wait(Group group, const uint64_t* word, uint64_t want, int peer, size_t index) {
    bool ok = true;
    if (group.lane() == 0) {
      ok = poll(peer, index, want, [&](uint64_t& got) {
        got = ptx::load_relaxed_sys(word);
        return got >= want;
      });
      ptx::fence_acq_rel_sys();
    }
    return group.all(ok);
  }

  template <class Group, class Word>
  TW_FN int wait_any(Group group, int ranks, int self, Word word, uint64_t want, size_t index) {
    int found = -1;
    if (group.lane() == 0) {
      poll(kAnyPeer, index, want, [&](uint64_t& got) {
        for (int rank = 0; rank < ranks && found < 0; ++rank) {
          if (rank == self) continue;
          got = ptx::load_relaxed_sys(word(rank));
          if (got >= want) found = rank;
        }
        return found >= 0;
      });
      ptx::fence_acq_rel_sys();
    }
    return static_cast<int>(
        static_cast<int64_t>(group.from_first(static_cast<uint64_t>(static_cast<int64_t>(found)))));
  }

  TW_FN static bool last(uint64_t* finished, int blocks) {
    bool is_last = true;
    __syncthreads();
    if (ThisBlock().lane() == 0 && blocks != 1) {
      is_last = ptx::add_acq_rel_gpu(finished, 1) == static_cast<uint64_t>(blocks) - 1;
      if (is_last) ptx::store_relaxed_gpu(finished, 0);
    }
    return __syncthreads_and(is_last) != 0;
  }

  TW_FN static void set(uint64_t* word, uint64_t value) {
    if (ThisBlock().lane() == 0) *word = value;
  }
};

}  // namespace TW_NS
