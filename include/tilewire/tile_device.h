// A tile set: what the tile programs of a comm share. It has memory on every rank, signal words,
// and the counters of its launches. tw_tiles_get_view gives the view by value.
//
// Every rank's part of the memory:  entries | words | data
//   entries  two FlagLines a sender, by parity: "I am in this launch", and where its windows are
//   words    a word for each (sender, slot): slot of a sender raised in this launch
//   data     the program's own: partial tiles, gathered rows ...
// A word is written by one sender only; it holds the epoch in which it was raised last (the comm's,
// for calls of its own, else the set's), so values only grow, nothing is zeroed, and no launch
// needs an argument that another did not have. The protocol is written down in tile/tile_call.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tilewire/kernels/coll.h"
#include "tilewire/tile/comm_view.h"
#include "tilewire/tile/grid.h"

namespace tw {

/// Loops over tiles or items in one kernel; each has its own counter.
inline constexpr int kTilePhases = 8;

/// Counters of one rank's launches, in memory of its device; all but the last are 0 between
/// launches.
struct TileCounters {
  alignas(128) uint64_t next[kTilePhases][16];  // next[p][0]: next item of loop p
  alignas(128) uint64_t finished;               // blocks of the running launch that are done
  uint64_t launches;  // over, of this set: epochs may also count other calls of the comm
};

/// Offsets in bytes from the start of a rank's part, all multiples of 128.
struct TileLayout {
  int ranks;
  size_t slots;
  size_t words, data, end;

  /// The lines of launches with an even and an odd number.
  constexpr size_t entry(uint64_t launch, int sender) const {
    return (launch % 2 * static_cast<size_t>(ranks) + static_cast<size_t>(sender)) * 128;
  }
  constexpr size_t word(int sender, size_t slot) const {
    return words + static_cast<size_t>(sender) * sender_bytes(slots) + slot * sizeof(uint64_t);
  }
  static constexpr size_t sender_bytes(size_t slots) { return (slots * 8 + 127) / 128 * 128; }
};

/// `slots` signal words from each sender and `bytes` of data, at each rank.
constexpr TileLayout tile_layout(int ranks, size_t slots, size_t bytes) {
  TileLayout l{ranks, slots, 0, 0, 0};
  l.words = 2 * static_cast<size_t>(ranks) * 128;
  l.data =
      (l.words + static_cast<size_t>(ranks) * TileLayout::sender_bytes(slots) + 4095) / 4096 * 4096;
  l.end = l.data + (bytes + 127) / 128 * 128;
  return l;
}

/// A call of the library that runs a tile program, for records and digests (CallRecord). A user's
/// launch has none: `call` is kNoCall.
struct TileRecord {
  CollOp call;
  tw_type_t type;
  uint32_t size[3];  // m, n, k, cut to 32 bits; of a program: rows, its number, the part that runs
  uint16_t digest;   // the upper bits of `history`
  uint64_t history;
};

/// A matrix that peers write. Ranks tell each other when they enter a launch, so they may differ.
struct TileOut {
  uint64_t at;      // location in window memory (comm_view.h), 0 = private memory
  uint64_t stride;  // elements
};

}  // namespace tw

extern "C" {

/// By value into kernels. Valid while the tile set lives.
typedef struct tw_tile_view {  // NOLINT(modernize-use-using): a C name
  struct tw::CommView comm;
  struct tw::TileLayout layout;
  char* const* parts;  // [size]: each rank's part of the set's memory, as mapped by this device
  char* everywhere;    // an address that reaches every rank's part (GPU multicast), or null
  uint64_t* epoch;     // the comm's calls, or the set's launches; a launch's last block advances it
  struct tw::TileCounters* counters;
  char* scratch;         // this device's, for its blocks: block b at b * scratch_bytes
  size_t scratch_bytes;  // CPUs: at least kTileScratch. GPUs: may be 0
  enum tw::StorePolicy store;
  struct tw::TileRecord record;
  struct tw::TileOut out[2];  // memory of this rank that peers may write in this launch
} tw_tile_view;
}

static_assert(std::is_trivially_copyable_v<tw_tile_view>);

namespace tw {

/// Scratch that every CPU block needs (impl/cpu/tile_scratch.h): sums of a paired tile, a step of A
/// and of B, rows. What there is beyond it keeps packed A from tile to tile: rows of a tile x K
/// elements, 4 bytes each at most (tile_scratch).
inline constexpr size_t kTileScratch = size_t{3328} << 10;
inline constexpr size_t kMostPackedA = size_t{64} << 20;
constexpr size_t tile_scratch(size_t tile_rows, size_t k) {
  const size_t packed = divide_up(tile_rows, 16) * 16 * divide_up(k, kCpuTile.k) * kCpuTile.k * 4;
  return kTileScratch + (packed < kMostPackedA ? packed : kMostPackedA);
}

}  // namespace tw
