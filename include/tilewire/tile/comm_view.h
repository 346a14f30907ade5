// What a kernel sees of a comm, and the layout of the comm's own memory. One struct gives sizes
// (host) and addresses (device). Plain data: words are accessed by the tile layer's loads and
// stores, which state scope and order.
//
// Every rank's heap begins with one comm area of this layout:
//   control | flags | packets | slots | staging | channels
// Who writes: `control` its owner (and anyone the abort and dead words); everything else is written
// by peers, each into the part reserved for it as sender, except `staging`, which its owner writes
// and peers read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tilewire.h"

namespace tw {

inline constexpr int kMaxRanks = TW_MAX_RANKS;
inline constexpr uint32_t kCommLayoutVersion = 2;

/// Signals of a call hold its epoch above its digest, or above the number of a step.
inline constexpr int kDigestBits = 16;
inline constexpr int kStepBits = 20;
inline constexpr size_t kMaxSteps = 1'000'000;

/// How a target's packets are framed, and the bytes in which it cuts work.
struct Framing {
  size_t packet_bytes;    // of one packet,
  size_t packet_payload;  // and of them payload
  size_t granule;         // a cache line, a sector
};
inline constexpr Framing kCpuFraming{64, 56, 64};
inline constexpr Framing kGpuFraming{16, 8, 128};

inline constexpr int kRecordParts = 5;

/// One call of a comm (a collective, a fused call, the launch of a program) as a rank made it.
/// Written by the rank when it enters the call (`seq` last, release); read by peers that wait long,
/// to tell "late" from "in a different call".
struct alignas(64) CallRecord {
  uint64_t seq;                 // the comm's epoch of this call; 0 = never used
  uint32_t call;                // CollOp (tilewire/kernels/coll.h)
  uint32_t type;                // tw_type_t
  uint32_t op;                  // tw_op_t; kScaledRecord added when factors are applied
  int32_t root;                 // -1 = none
  uint64_t count;               // elements
  uint64_t digest;              // CollArgs::history
  uint32_t parts;               // how many there are in `part`; 0: none
  uint32_t part[kRecordParts];  // TileRecord::size; or the first counts of uneven forms whose
                                // counts all ranks know, cut to 32 bits
};
static_assert(sizeof(CallRecord) == 64);

inline constexpr int kCallRecords = 8;
inline constexpr uint32_t kScaledRecord = 256;

/// The first bytes of every rank's heap.
struct alignas(128) RankControl {
  alignas(128) uint64_t abort;  // 0, or a tw_status_t: every wait of every rank polls its own copy
  uint64_t dead_mask;           // bit r: rank r is dead, as seen by this process's monitor
  alignas(128) uint64_t entered;  // last epoch this rank entered (owner: release; peers: acquire)
  alignas(64) CallRecord records[kCallRecords];  // records[seq % kCallRecords]
  alignas(128) char host[8192];  // the host's control plane (lib/comm); kernels never touch it
};

/// One signal: a word per (kind, block, sender) at the receiver, alone on its cache line, so that
/// the payload of an entry signal travels with it. `value` is written last, with release.
struct FlagLine {
  uint64_t value;    // epoch and digest (entry) or epoch and step (others); only grows
  uint64_t send_at;  // entry: location of the sender's data for the receiver; 0 = private memory
  uint64_t recv_at;  // entry: location where the receiver's data goes; 0 = private memory
  uint64_t factor;   // entry: bits of the sender's scaled-sum factor; or 1: all_to_all in place
  uint64_t bytes;    // entry: bytes that the sender has for the receiver
  uint64_t history;  // entry: CollArgs::history of the sender
  uint64_t extra[2];
};
static_assert(sizeof(FlagLine) == 64);

enum FlagKind : int { kFlagEntry, kFlagExit, kFlagIn, kFlagOut, kFlagKinds };

/// Offsets in bytes from the start of a rank's heap, all multiples of 128.
struct CommLayout {
  int ranks;
  int blocks;          // blocks a launch may have: each has its own flags and shares of the buffers
  size_t flag_stride;  // bytes between flag lines (128 on CPUs: adjacent-line prefetch)
  size_t packet_bytes;   // inbox bytes per (set, sender), framing included
  size_t slot_bytes;     // slot bytes per (set, sender)
  size_t staging_bytes;  // staging bytes per rank
  size_t channel_bytes;  // point-to-point ring bytes per sender
  size_t flags, packets, slots, staging, channels, end;

  /// Flag of `kind` that `sender`'s block `block` raises at the heap's owner.
  constexpr size_t flag(FlagKind kind, int block, int sender) const {
    return flags + ((static_cast<size_t>(kind) * blocks + block) * ranks + sender) * flag_stride;
  }
  /// Inbox / slot of `sender` in set `set` (epoch parity).
  constexpr size_t packet(int set, int sender) const {
    return packets + (static_cast<size_t>(set) * ranks + sender) * packet_bytes;
  }
  constexpr size_t slot(int set, int sender) const {
    return slots + (static_cast<size_t>(set) * ranks + sender) * slot_bytes;
  }
  constexpr size_t channel(int sender) const { return channels + sender * channel_bytes; }
};

constexpr CommLayout comm_layout(int ranks, int blocks, size_t flag_stride, size_t packet_bytes,
                                 size_t slot_bytes, size_t staging_bytes, size_t channel_bytes) {
  constexpr size_t kPage = 4096;
  const auto up = [](size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; };
  CommLayout l{ranks,
               blocks,
               flag_stride,
               packet_bytes,
               slot_bytes,
               staging_bytes,
               channel_bytes,
               0,
               0,
               0,
               0,
               0,
               0};
  const size_t n = static_cast<size_t>(ranks);
  l.flags = up(sizeof(RankControl));
  l.packets = l.flags + up(kFlagKinds * blocks * n * flag_stride);
  l.slots = l.packets + up(2 * n * packet_bytes);
  l.staging = l.slots + up(2 * n * slot_bytes);
  l.channels = l.staging + up(staging_bytes);
  l.end = l.channels + up(n * channel_bytes);
  return l;
}

/// A place in window memory that every rank can resolve: 1 + segment index in the upper 16 bits,
/// bytes from the segment's start below. 0 = private memory.
inline constexpr int kLocationShift = 48;

/// `location` moved by `bytes`; 0 stays 0.
constexpr uint64_t location_add(uint64_t location, size_t bytes) {
  return location == 0 ? 0 : location + bytes;
}
constexpr uint64_t location_segment(uint64_t location) { return (location >> kLocationShift) - 1; }
constexpr uint64_t location_offset(uint64_t location) {
  return location & ((uint64_t{1} << kLocationShift) - 1);
}
inline constexpr int kMaxSegments = 8192;

/// State a block keeps between launches; written and read by that block only.
struct alignas(128) BlockState {
  uint64_t synced;  // last epoch in which this block heard from every peer
  uint64_t heard;   // the same, packets that order nothing else included (Target::kPacketsOrder)
};

inline constexpr int kAnyPeer = -1;
inline constexpr int kHostBlock = -1;

/// Where a wait stands, for messages.
struct WaitSite {
  const char* op;  // name of the call or kernel
  int peer;        // rank waited for, or kAnyPeer
  int block;       // kHostBlock: none, the host waits in a call that launches nothing
  uint64_t index;  // tile, chunk or slot; of the host, how many such calls there were
};

/// Why a block on a GPU gave up: the first failure of a device. The host watches `status`, words
/// the error and stops the peers. Zeroed by the host before the comm's first launch.
struct WaitFailure {
  uint64_t claimed;  // 1: a block is writing this record
  uint64_t status;   // tw_status_t; 0 until the record is complete (release, system scope)
  int32_t peer;
  int32_t block;
  uint64_t index;
  uint64_t expected;
  uint64_t got;
  char op[32];  // name of the kernel, cut to 31 characters
};

/// Bounded waiting. The fast path spins `spins` times on the word; then `slow` (host code; null on
/// GPUs) yields, sleeps, polls abort word and deadline, compares call records, and returns whether
/// `*word >= want` came true. False means that the comm's error is set: leave the kernel.
struct WaitContext {
  uint64_t* abort;     // non-zero: leave. A GPU block whose wait fails sets it
  int64_t timeout_ns;  // of one wait; 0 = never
  int spins;
  bool (*slow)(WaitContext* context, const WaitSite* site, const uint64_t* word, uint64_t want);
  void* comm;  // the host's comm, for `slow` and `mismatch`
  /// A peer's signal of this call carries another digest: `got` and `want` are such words. Host
  /// code words the error and ends the comm; the kernel leaves. Null on GPUs.
  void (*mismatch)(WaitContext* context, const WaitSite* site, uint64_t got, uint64_t want);
  /// For loops that look at several words in turn (send/recv) and found nothing to do: rests as
  /// `slow` does, once. `round` counts the calls since the loop last got on; 0 starts the deadline.
  /// `site` is one of the things waited for. False: the comm's error is set, leave the kernel.
  bool (*idle)(WaitContext* context, const WaitSite* site, uint64_t round);
  WaitFailure* failure = nullptr;  // GPUs: where a block writes why it gave up; null on CPUs
};

struct CommView {
  uint32_t version;  // kCommLayoutVersion
  int rank;
  int size;
  CommLayout layout;
  char* const* heaps;     // [size]: each rank's heap as mapped by this device
  char* const* segments;  // [segment * size + rank]: window memory as mapped by this device
  uint64_t* epoch;        // calls completed on this comm; advanced by the last block of a launch
  uint64_t* finished;     // blocks of the running launch that are done; 0 between launches
  BlockState* states;     // [blocks]
  WaitContext* wait;
  /// [segment]: an address that reaches that segment of every rank at once (a GPU fabric's
  /// multicast), or null. Segment 0 is the comm area. Null as a whole: no multicast, as on CPUs.
  char* const* multicasts = nullptr;
};
static_assert(std::is_trivially_copyable_v<CommView>);

}  // namespace tw
