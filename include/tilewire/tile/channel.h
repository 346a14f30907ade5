// The point-to-point channel of an ordered pair of ranks, in the receiver's heap at
// CommLayout::channel(sender). One struct for sizes (host) and addresses (kernel).
//
// A message is a sequence of cells; a cell is one cache line. Cell number i (from 1) of a channel
// lies at cells[i % kChannelCells]; its `word` is i << 2 | kind, stored last, with release. Three
// kinds: up to 48 bytes in the cell itself; a chunk in the data ring; the location of the whole
// message in the sender's window, which the receiver copies itself.
//
// Reuse: the receiver counts the cells that it is done with in `consumed`, which lies in the
// *sender's* heap (in the sender's channel from that receiver). The sender reuses a cell when
// `consumed` is within kChannelCells of it, and bytes of the data ring when the cell that carried
// them is consumed. A window message is complete when its cell is consumed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tw {

inline constexpr int kChannelCells = 64;
inline constexpr size_t kCellPayload = 48;

enum CellKind : uint64_t { kCellInline, kCellData, kCellWindow };
inline constexpr int kCellKindBits = 2;

struct alignas(64) ChannelCell {
  char payload[kCellPayload];  // kCellWindow: the location in the first 8 bytes
  uint64_t digest;             // of the message: type and count
  uint64_t word;
};
static_assert(sizeof(ChannelCell) == 64);

/// The heap owner's own counters for both directions with this peer.
struct ChannelState {
  uint64_t sent;                       // cells written to the peer
  uint64_t sent_data;                  // position in the peer's data ring
  uint64_t received;                   // cells taken from the peer
  uint64_t received_data;              // position in the own data ring
  uint64_t told;                       // cells taken that the peer was told of
  uint64_t told_data;                  // and the position in the own data ring then
  uint64_t consumed;                   // by the peer, when this rank last looked
  uint64_t data_after[kChannelCells];  // sent_data after cell i, at i % kChannelCells
};

struct Channel {
  alignas(128) uint64_t consumed;  // cells sent *to* the peer that it is done with; the peer writes
  alignas(128) ChannelCell cells[kChannelCells];  // from the peer
  alignas(128) ChannelState state;
  alignas(128) char data[64];  // the data ring: the rest of channel_bytes
};

/// Bytes of the data ring in a channel of `channel_bytes`. A chunk is at most a quarter of it.
constexpr size_t channel_data_bytes(size_t channel_bytes) {
  const size_t fixed = sizeof(Channel) - sizeof(Channel::data);
  return channel_bytes < fixed ? 0 : (channel_bytes - fixed) / 256 * 256;
}
/// The least useful channel_bytes.
inline constexpr size_t kLeastChannelBytes = sizeof(Channel) + 4096;

}  // namespace tw
