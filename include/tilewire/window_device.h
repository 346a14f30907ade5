// Windows as kernels and other device code see them: tw_window_get_view gives the view by value.
//
// The functions below serve tile programs, plain CUDA kernels and plain C++ on CPUs alike; they are
// in TW_NS, and tw::device is another name of it. Groups: tilewire/tile/group.h.
//
//     namespace dev = tw::device;
//     dev::put(dev::ThisBlock(), args.window, peer, offset, data, bytes);
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tilewire/tile/comm_view.h"
#include "tilewire/tile/group.h"

extern "C" {

/// By value into kernels. Valid while the window lives.
typedef struct tw_window_view {  // NOLINT(modernize-use-using): a C name
  uint32_t version;              // kCommLayoutVersion
  int rank;
  int size;
  char* const* parts;   // [size]: each rank's part as mapped by this device
  const size_t* bytes;  // [size]
  struct tw::WaitContext* wait;
  char* multicast;  // GPU fabrics: a store here reaches every rank's part. Null where there is none
} tw_window_view;
}

static_assert(std::is_trivially_copyable_v<tw_window_view> &&
              std::is_standard_layout_v<tw_window_view> && sizeof(tw_window_view) == 48);

namespace TW_NS {

/// `rank`'s part of the window at `offset` (own part: the view's rank), for loads and stores.
/// Role: all. Scope: none. Order: none. Blocks: no.
TW_FN char* peer_ptr(const tw_window_view& window, int rank, size_t offset = 0) {
  return window.parts[rank] + offset;
}

/// The own part.
/// Role: all. Scope: none. Order: none. Blocks: no.
TW_FN char* local_ptr(const tw_window_view& window, size_t offset = 0) {
  return peer_ptr(window, window.rank, offset);
}

/// The address whose stores reach every rank's part; null where the fabric has no multicast (CPUs,
/// and GPUs without NVLS): then put to each rank.
/// Role: all. Scope: none. Order: none. Blocks: no.
TW_FN char* multicast_ptr(const tw_window_view& window, size_t offset = 0) {
  return window.multicast == nullptr ? nullptr : window.multicast + offset;
}

/// True when [offset, offset + bytes) lies in `rank`'s part, and there is such a rank.
/// Role: all. Scope: none. Order: none. Blocks: no.
TW_FN bool in_window(const tw_window_view& window, int rank, size_t offset, size_t bytes) {
  return rank >= 0 && rank < window.size && offset <= window.bytes[rank] &&
         bytes <= window.bytes[rank] - offset;
}

/// Copies local memory into `peer`'s part. The peer sees it after a later signal that it waited
/// for. False, and nothing is written, when the range is not in the window. Role: the group. Scope:
/// system. Order: none. Blocks: no.
template <class Group>
TW_FN bool put(Group group, const tw_window_view& to, int peer, size_t offset, const void* src,
               size_t bytes) {
  if (!in_window(to, peer, offset, bytes)) return false;
  BlockWords::copy(group, peer_ptr(to, peer, offset), src, bytes);
  return true;
}

/// Copies from `peer`'s part, which the peer has written before a signal that this group waited
/// for. The whole group sees the data when the call returns.
/// False, and nothing is read, when the range is not in the window.
/// Role: the group. Scope: group. Order: barrier of the group. Blocks: no.
template <class Group>
TW_FN bool get(Group group, void* dst, const tw_window_view& from, int peer, size_t offset,
               size_t bytes) {
  if (!in_window(from, peer, offset, bytes)) return false;
  BlockWords::copy(group, dst, peer_ptr(from, peer, offset), bytes);
  group.sync();
  return true;
}

/// Adds to the 64-bit word at `offset` (a multiple of 8) of `rank`'s part; returns what it was.
/// GPUs: the link between the two must carry atomics (NVLink does, not every PCIe does). Role: one
/// thread. Scope: system. Order: acq_rel. Blocks: no.
TW_FN uint64_t fetch_add(const tw_window_view& window, int rank, size_t offset, uint64_t value) {
  return BlockWords::fetch_add(reinterpret_cast<uint64_t*>(peer_ptr(window, rank, offset)), value);
}

/// Stores `desired` when the word is `expected`; returns what it was. As fetch_add.
/// Role: one thread. Scope: system. Order: acq_rel. Blocks: no.
TW_FN uint64_t compare_swap(const tw_window_view& window, int rank, size_t offset,
                            uint64_t expected, uint64_t desired) {
  return BlockWords::compare_swap(reinterpret_cast<uint64_t*>(peer_ptr(window, rank, offset)),
                                  expected, desired);
}

}  // namespace TW_NS

namespace tw {
namespace device = ::TW_NS;
}  // namespace tw
