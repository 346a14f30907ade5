// Point to point: progresses a list of sends and receives in turn, never waiting for one alone, so
// that any mix in any order completes. Channel protocol: tile/channel.h.
#include "tilewire/kernels/coll.h"
#include "tilewire/tile/channel.h"
#include "tilewire/tile/kernel.h"

namespace TW_NS {

template <class Block>
class Mover {
 public:
  TW_FN Mover(Block& block, const SendRecvArgs& args) : block_(block), args_(args) {}

  TW_FN void run() {
    uint64_t round = 0;
    for (;;) {
      const Transfer* waiting = nullptr;
      moved_ = false;
      if (!pass(&waiting) || waiting == nullptr) return;
      round = moved_ ? 0 : round + 1;
      if (!moved_ && !block_.idle(waiting->peer, waiting->seq, round - 1)) return;
    }
  }

 private:
  /// Values of Transfer::progress beyond bytes: a window send waits for its cell, then is done.
  static constexpr size_t kDone = kTransferDone;
  static constexpr size_t kPosted = size_t{1} << 63;

  /// Moves what can be moved. Transfers of one pair and direction keep their order: after the first
  /// that is not through, later ones are left alone. `*waiting`: an unfinished one, or null. False
  /// after a mismatch.
  TW_FN bool pass(const Transfer** waiting) {
    uint64_t held_sends = 0, held_receives = 0;
    for (int i = 0; i < args_.n; ++i) {
      Transfer& t = args_.transfers[i];
      if (t.progress == kDone) continue;
      const uint64_t held = t.is_send ? held_sends : held_receives;
      const uint64_t bit = uint64_t{1} << t.peer;
      if ((held & bit) == 0) {
        if (t.is_send) {
          send(t);
        } else if (!receive(t)) {
          return false;
        }
      }
      if (t.progress == kDone) continue;
      if (*waiting == nullptr) *waiting = &t;
      if ((t.progress & kPosted) != 0) continue;
      held_sends |= t.is_send ? bit : 0;
      held_receives |= t.is_send ? 0 : bit;
    }
    return true;
  }

  // ---- Sender ----

  TW_FN void send(Transfer& t) {
    Channel& mine = channel(args_.comm.rank, t.peer);
    if ((t.progress & kPosted) != 0) {
      if (look(mine) >= t.progress - kPosted) advance(t, kDone);
      return;
    }
    // What was consumed when this rank last looked is mostly enough: to look costs a cache line.
    while (t.progress != kDone && (t.progress & kPosted) == 0)
      if (!send_cell(t, mine.state)) {
        const uint64_t before = mine.state.consumed;
        if (look(mine) == before) return;
      }
  }

  TW_FN uint64_t look(Channel& mine) {
    const uint64_t consumed = block_.load(&mine.consumed);
    block_.set(&mine.state.consumed, consumed);
    return consumed;
  }

  /// Writes the message's next cell. False when there is no room for it now.
  TW_FN bool send_cell(Transfer& t, ChannelState& state) {
    const uint64_t consumed = state.consumed;
    const uint64_t number = state.sent + 1;
    if (number - consumed > kChannelCells) return false;
    Channel& theirs = channel(t.peer, args_.comm.rank);
    ChannelCell& cell = theirs.cells[number % kChannelCells];
    const char* from = static_cast<const char*>(t.data) + t.progress;
    const size_t left = t.bytes - t.progress;
    size_t part = left;
    uint64_t data_after = state.sent_data;
    CellKind kind = kCellInline;
    if (t.at != 0 && t.bytes >= args_.window_from) {
      kind = kCellWindow;
      block_.store(cell.payload, &t.at, sizeof t.at, StorePolicy::kPlain);
    } else if (t.bytes <= kInlineMessage) {
      part = left < kCellPayload ? left : kCellPayload;
      block_.store(cell.payload, from, part, StorePolicy::kPlain);
    } else {
      kind = kCellData;
      part = left < chunk_bytes() ? left : chunk_bytes();
      const size_t at = chunk_at(state.sent_data, part);
      data_after = at + part;
      if (data_after - data_consumed(state, consumed) > ring_bytes()) return false;
      block_.store(theirs.data + at % ring_bytes(), from, part, args_.store);
    }
    block_.store(&cell.digest, &t.digest, sizeof t.digest, StorePolicy::kPlain);
    block_.publish(Site::kChannel, &cell.word, number << kCellKindBits | kind);
    block_.set(&state.data_after[number % kChannelCells], data_after);
    block_.set(&state.sent_data, data_after);
    block_.set(&state.sent, number);
    if (kind == kCellWindow) {
      advance(t, kPosted + number);
    } else {
      advance(t, part == left ? kDone : t.progress + part);
    }
    return true;
  }

  /// Position in the data ring up to which the peer is done. Cells before the last kChannelCells
  /// are consumed whenever a new one may be written.
  TW_FN uint64_t data_consumed(const ChannelState& state, uint64_t consumed) const {
    return consumed == 0 ? 0 : state.data_after[consumed % kChannelCells];
  }

  // ---- Receiver ----

  TW_FN bool receive(Transfer& t) {
    Channel& mine = channel(args_.comm.rank, t.peer);
    ChannelState& state = mine.state;
    while (t.progress != kDone) {
      const uint64_t number = state.received + 1;
      const ChannelCell& cell = mine.cells[number % kChannelCells];
      const uint64_t word = block_.load(&cell.word);
      if (word >> kCellKindBits != number) return true;
      if (cell.digest != t.digest) {
        block_.report_mismatch(t.peer, cell.digest, t.digest);
        return false;
      }
      if (!take_cell(t, mine, cell, static_cast<CellKind>(word & ((1 << kCellKindBits) - 1))))
        return false;
      block_.set(&state.received, number);
      tell(t.peer, state, (word & ((1 << kCellKindBits) - 1)) == kCellWindow);
    }
    return true;
  }

  /// False when the comm has ended and the copy was cut short.
  TW_FN bool take_cell(Transfer& t, Channel& mine, const ChannelCell& cell, CellKind kind) {
    char* to = static_cast<char*>(t.data) + t.progress;
    const size_t left = t.bytes - t.progress;
    size_t part = left;
    if (kind == kCellWindow) {
      uint64_t at = 0;
      __builtin_memcpy(&at, cell.payload, sizeof at);
      block_.copy(to, window_memory(args_.comm, t.peer, at), part);
    } else if (kind == kCellInline) {
      part = left < kCellPayload ? left : kCellPayload;
      block_.copy(to, cell.payload, part);
    } else {
      part = left < chunk_bytes() ? left : chunk_bytes();
      const size_t at = chunk_at(mine.state.received_data, part);
      block_.copy(to, mine.data + at % ring_bytes(), part);
      block_.set(&mine.state.received_data, at + part);
    }
    if (!block_.whole()) return false;
    advance(t, part == left ? kDone : t.progress + part);
    return true;
  }

  /// Tells the peer what was consumed: at once when it waits for its window, else for every quarter
  /// of the cells or of the ring, since each telling costs it a cache line. A chunk is at most a
  /// quarter of the ring, so what is not told of cannot keep the peer from sending.
  TW_FN void tell(int peer, ChannelState& state, bool now) {
    if (!now && state.received - state.told < kChannelCells / 4 &&
        state.received_data - state.told_data < ring_bytes() / 4)
      return;
    block_.set(&state.told, state.received);
    block_.set(&state.told_data, state.received_data);
    block_.publish(Site::kConsumed, &channel(peer, args_.comm.rank).consumed, state.received);
  }

  // ---- Both ----

  /// Messages up to this size travel in the cells themselves.
  static constexpr size_t kInlineMessage = 4 * kCellPayload;

  TW_FN void advance(Transfer& t, size_t progress) {
    block_.set(&t.progress, progress);
    moved_ = true;
  }

  /// The channel from `sender` in `owner`'s heap.
  TW_FN Channel& channel(int owner, int sender) const {
    return *reinterpret_cast<Channel*>(args_.comm.heaps[owner] + args_.comm.layout.channel(sender));
  }
  TW_FN size_t ring_bytes() const { return channel_data_bytes(args_.comm.layout.channel_bytes); }
  TW_FN size_t chunk_bytes() const { return ring_bytes() / 4; }

  /// Where in the ring's endless row a chunk goes that would follow `position`: not over the ring's
  /// end, and at the start of a cache line.
  TW_FN size_t chunk_at(uint64_t position, size_t bytes) const {
    const size_t ring = ring_bytes();
    const size_t at = (position + 63) / 64 * 64;
    // NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a layout's ring is never empty
    return at % ring + bytes <= ring ? at : (at / ring + 1) * ring;
  }

  Block& block_;
  const SendRecvArgs& args_;
  bool moved_ = false;
};

template <class Block>
TW_FN void send_recv(Block& block, const SendRecvArgs& args) {
  if (block.index() == 0) Mover<Block>(block, args).run();
}
TW_KERNEL(send_recv, SendRecvArgs)

}  // namespace TW_NS
