// The data flow of collectives that move slices and do not reduce: all_gather, broadcast,
// all_to_all, gather, scatter. An op says who sends what to whom; this file moves it.
//
// `Slices` of an op, in bytes:
//   bool sends(int peer), receives(int peer)   whether this rank talks to the peer that way
//   Range out(int peer)       the part of `send` for the peer
//   Range in(int peer)        the part of `recv` from the peer; as long as the peer's out
//   static bool kSame         every peer gets the same part
//   bool overlaps()           a slice that arrives may overwrite one that has not left: in place
#pragma once

#include "kernels/coll/slices.h"
#include "tilewire/kernels/coll.h"
#include "tilewire/tile/call.h"

namespace TW_NS {

template <class Block, class Slices>
class Exchange {
 public:
  TW_FN Exchange(Block& block, const CollArgs& args, const Slices& slices)
      : block_(block),
        args_(args),
        slices_(slices),
        call_(block, args),
        send_(static_cast<const char*>(args.send)),
        recv_(static_cast<char*>(args.recv)) {}

  TW_FN void run() {
    if (by_algorithm()) call_.close();
  }

 private:
  TW_FN bool by_algorithm() {
    switch (args_.algo) {
      case CollAlgo::kPacket:
        return by_packets();
      case CollAlgo::kSlot:
        return by_copies([&](int p) { return call_.slot_at(p); },
                         [&](int p) { return call_.slot_from(p); },
                         /*once=*/false, Slices::kSame ? call_.slot_everywhere() : nullptr);
      case CollAlgo::kPull:
        if (!call_.ready_all()) return false;
        return by_copies([&](int p) { return call_.staging(call_.rank()) + pull_offset(p); },
                         [&](int p) { return call_.staging(p) + pull_offset(call_.rank()); },
                         /*once=*/Slices::kSame, nullptr);
      default:
        return direct();
    }
  }

  // ---- Packets: push every slice, then take what comes. ----

  TW_FN bool by_packets() {
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.peer(i);
      if (!slices_.sends(p)) continue;
      const Range out = slices_.out(p);
      const Range part = call_.share(out, Target::kPacketPayload);
      if (call_.silent(part)) continue;
      if (!call_.inbox_ready(p)) return false;
      block_.put_packets(call_.inbox_at(p, part.begin - out.begin), send_ + part.begin, part.size(),
                         call_.word(), nullptr);
    }
    copy_own();
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.source(i);
      if (!slices_.receives(p)) continue;
      const Range in = slices_.in(p);
      const Range part = call_.share(in, Target::kPacketPayload);
      if (call_.silent(part)) continue;
      if (!block_.get_packets(recv_ + part.begin, call_.inbox_from(p, part.begin - in.begin),
                              part.size(), call_.word(), p))
        return false;
      call_.heard(p);
    }
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.peer(i);
      if (!slices_.sends(p)) continue;
      const Range out = slices_.out(p);
      const Range part = call_.share(out, Target::kPacketPayload);
      if (!call_.silent(part)) call_.expect_packets(p, part.begin - out.begin, part.size());
    }
    return true;
  }

  // ---- Slots and own staging: copy every slice in steps to at(peer), then take from(peer).
  // `once`: the first copy serves every peer. Everything has left before anything arrives in
  // `recv`. ----

  template <class At, class From>
  TW_FN bool by_copies(At at, From from, bool once, char* everywhere) {
    size_t steps = 0;
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.peer(i);
      if (!slices_.sends(p)) continue;
      if (!call_.ready(p)) return false;
      steps = larger(steps, steps_of(slices_.out(p)).count);
    }
    for (size_t k = 0; k < steps; ++k) {
      if (everywhere != nullptr) {
        put_step_everywhere(k, at, everywhere);
      } else {
        put_step(k, at, once);
      }
    }
    copy_own();
    steps = 0;
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.source(i);
      if (slices_.receives(p)) steps = larger(steps, steps_of(slices_.in(p)).count);
    }
    for (size_t k = 0; k < steps; ++k)
      if (!take_step(k, from)) return false;
    return true;
  }

  template <class At>
  TW_FN void put_step(size_t k, At at, bool once) {
    bool copied = false;
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.peer(i);
      if (!slices_.sends(p)) continue;
      const Range out = slices_.out(p);
      const Steps steps = steps_of(out);
      if (k >= steps.count) continue;
      const Range part = steps.of(share(out), k);
      if (!copied || !once)
        block_.store(at(p) + (part.begin - out.begin), send_ + part.begin, part.size(),
                     args_.store);
      copied = true;
      call_.signal_step(k, p);
    }
  }

  /// Step `k` of the part that every peer gets, to all of them at once.
  template <class At>
  TW_FN void put_step_everywhere(size_t k, At at, char* everywhere) {
    const Range out = slices_.out(call_.peer(1));
    const Range part = steps_of(out).of(share(out), k);
    const size_t offset = part.begin - out.begin;
    block_.store_all(
        call_.size() - 1, [&](int i) { return at(call_.peer(i + 1)) + offset; },
        everywhere + offset, send_ + part.begin, part.size(), args_.store);
    call_.signal_step(k);
  }

  template <class From>
  TW_FN bool take_step(size_t k, From from) {
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.source(i);
      if (!slices_.receives(p)) continue;
      const Range in = slices_.in(p);
      const Steps steps = steps_of(in);
      if (k >= steps.count) continue;
      if (!call_.wait_step(k, p)) return false;
      const Range part = steps.of(share(in), k);
      block_.copy(recv_ + part.begin, from(p) + (part.begin - in.begin), part.size());
    }
    return true;
  }

  /// Own staging holds one slice for all, or one of equal stride for each peer.
  TW_FN size_t pull_offset(int peer) const {
    return Slices::kSame ? 0 : peer * pull_stride(args_.comm.layout, Target::kGranule);
  }

  // ---- Direct: each pair agrees from the two locations how its slices move. ----

  enum class Way { kPull, kPush, kStaged };

  /// The same at both ends: `send_at` is the sender's, `recv_at` the receiver's. Where either end
  /// is in place, all its slices are staged: what it sends has left then before anything arrives.
  TW_FN Way way(int p, uint64_t send_at, uint64_t recv_at) const {
    if (slices_.overlaps() || call_.entry(p).factor != 0) return Way::kStaged;
    const bool push_first = args_.store == StorePolicy::kNonTemporal;
    if (send_at != 0 && !(push_first && recv_at != 0)) return Way::kPull;
    return recv_at != 0 ? Way::kPush : Way::kStaged;
  }
  TW_FN Way way_to(int p) const { return way(p, send_at(p), call_.entry(p).recv_at); }
  TW_FN Way way_from(int p) const { return way(p, call_.entry(p).send_at, recv_at(p)); }

  TW_FN uint64_t send_at(int p) const {
    if (!slices_.sends(p)) return 0;
    return location_add(args_.send_at, slices_.out(p).begin);
  }
  TW_FN uint64_t recv_at(int p) const {
    if (!slices_.receives(p)) return 0;
    return location_add(args_.recv_at, slices_.in(p).begin);
  }

  TW_FN bool direct() {
    const auto talks = [&](int p) { return slices_.sends(p) || slices_.receives(p); };
    call_.enter(talks, [&](int p) {
      return EntryPayload{send_at(p), recv_at(p), slices_.overlaps(),
                          slices_.sends(p) ? slices_.out(p).size() : 0, args_.history};
    });
    copy_own();
    if (!call_.wait_entered(talks)) return false;
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.source(i);
      if (!talks(p)) continue;
      if (!call_.entered_alike(p)) return false;
      const size_t expected = slices_.receives(p) ? slices_.in(p).size() : 0;
      if (call_.entry(p).bytes != expected) {
        block_.report_mismatch(p, call_.entry(p).bytes, expected);
        return false;
      }
    }
    push_and_pull();
    if (!staged()) return false;
    call_.leave(talks);
    return call_.wait_left(talks);
  }

  TW_FN void push_and_pull() {
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.peer(i);
      if (!slices_.sends(p) || way_to(p) != Way::kPush) continue;
      const Range out = slices_.out(p);
      const Range part = share(out);
      block_.store(call_.window(p, call_.entry(p).recv_at) + (part.begin - out.begin),
                   send_ + part.begin, part.size(), args_.store);
    }
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.source(i);
      if (!slices_.receives(p) || way_from(p) != Way::kPull) continue;
      const Range in = slices_.in(p);
      const Range part = share(in);
      block_.copy(recv_ + part.begin,
                  call_.window(p, call_.entry(p).send_at) + (part.begin - in.begin), part.size());
    }
  }

  // ---- Staged: private to private, in rounds through the sender's staging. Round k lies in buffer
  // k % kDepth. The sender writes round k after every reader is done with round k - kDepth; a
  // reader says so when it took that round. Round k + 1 is written before round k is taken; the
  // waits form no cycle, since a wait in round k is for an action in a round before k or for a
  // write of round k, which waits for rounds before k only. ----

  static constexpr size_t kDepth = kStagedDepth;

  TW_FN bool staged() {
    size_t put_rounds = 0, take_rounds = 0;
    for (int p = 0; p < call_.size(); ++p) {
      if (p == call_.rank()) continue;
      if (staged_to(p)) put_rounds = larger(put_rounds, rounds_of(slices_.out(p)).count);
      if (staged_from(p)) take_rounds = larger(take_rounds, rounds_of(slices_.in(p)).count);
    }
    for (size_t k = 0; k < put_rounds || k <= take_rounds; ++k) {
      if (k < put_rounds && !put_round(k)) return false;
      if (k >= 1 && k <= take_rounds && !take_round(k - 1)) return false;
    }
    return true;
  }

  TW_FN bool staged_to(int p) const { return slices_.sends(p) && way_to(p) == Way::kStaged; }
  TW_FN bool staged_from(int p) const { return slices_.receives(p) && way_from(p) == Way::kStaged; }

  TW_FN bool put_round(size_t k) {
    if (k < kDepth && !call_.ready_all()) return false;
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.peer(i);
      if (!staged_to(p) || k >= rounds_of(slices_.out(p)).count) continue;
      if (k >= kDepth && !call_.wait_done(k - kDepth + 1, p)) return false;
    }
    bool copied = false;
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.peer(i);
      if (!staged_to(p)) continue;
      const Steps rounds = rounds_of(slices_.out(p));
      if (k >= rounds.count) continue;
      const Range part = rounds.of(share(slices_.out(p)), k);
      if (!copied || !Slices::kSame)
        block_.store(buffer(call_.rank(), p, k), send_ + part.begin, part.size(), args_.store);
      copied = true;
      call_.signal_step(k + 1, p);
    }
    return true;
  }

  TW_FN bool take_round(size_t k) {
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.source(i);
      if (!staged_from(p)) continue;
      const Steps rounds = rounds_of(slices_.in(p));
      if (k >= rounds.count) continue;
      if (!call_.wait_step(k + 1, p)) return false;
      const Range part = rounds.of(share(slices_.in(p)), k);
      block_.copy(recv_ + part.begin, buffer(p, call_.rank(), k), part.size());
      call_.signal_done(k + 1, p);
    }
    return true;
  }

  /// One round's buffer: this block's, in `owner`'s staging, for `reader`.
  TW_FN char* buffer(int owner, int reader, size_t k) const {
    const size_t lanes = staged_lanes(args_.comm.layout, args_.call);
    const size_t lane = (Slices::kSame ? 0 : reader) + lanes * block_.index();
    return call_.staging(owner) + (lane * kDepth + k % kDepth) * round_limit();
  }
  TW_FN size_t round_limit() const {
    return staged_lane_bytes(args_.comm.layout, Target::kGranule, args_.call, block_.blocks());
  }

  // ---- Shares of this block ----

  TW_FN Range share(Range slice) const { return call_.share(slice, Target::kGranule); }
  TW_FN Steps steps_of(Range slice) const {
    return Steps(share(slice).size(), args_.chunk, ~size_t{0});
  }
  TW_FN Steps rounds_of(Range slice) const {
    return Steps(share(slice).size(), args_.chunk == 0 ? round_limit() : args_.chunk,
                 round_limit());
  }

  TW_FN void copy_own() {
    const int me = call_.rank();
    if (!slices_.sends(me) || !slices_.receives(me)) return;
    const Range out = share(slices_.out(me));
    const Range in = share(slices_.in(me));
    if (recv_ + in.begin != send_ + out.begin)
      block_.copy(recv_ + in.begin, send_ + out.begin, out.size());
  }

  Block& block_;
  const CollArgs& args_;
  const Slices& slices_;
  Call<Block> call_;
  const char* send_;
  char* recv_;
};

/// Moves the slices of one call.
template <class Block, class Slices>
TW_FN void exchange(Block& block, const CollArgs& args, const Slices& slices) {
  Exchange<Block, Slices>(block, args, slices).run();
}

}  // namespace TW_NS
