// The data flow of collectives that reduce: all_reduce, reduce, reduce_scatter.
//
// One-shot (packets, slots, pull): each rank gets every rank's data for the part that it owns, and
// reduces it once. Two-shot (direct): the part is divided between the ranks, each reduces its share
// and hands the result on. Always in rank order from the original inputs, never from partial sums,
// so the bits do not depend on which of them ran.
#pragma once

#include "kernels/coll/slices.h"
#include "tilewire/kernels/coll.h"
#include "tilewire/tile/call.h"

namespace TW_NS {

/// Who gets the result of what.
enum class ReduceTo {
  kEveryone,  // every rank, all of it
  kRoot,      // the root, all of it
  kOwner,     // rank r, slice r
};

template <class Block, ReduceTo to>
class Reducer {
 public:
  TW_FN Reducer(Block& block, const CollArgs& args)
      : block_(block),
        args_(args),
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
        return by_copies(
            [&](int p, size_t in_owned, size_t) { return call_.slot_at(p) + in_owned; },
            [&](int p, size_t in_owned, size_t) { return call_.slot_from(p) + in_owned; },
            /*once=*/false, to == ReduceTo::kEveryone ? call_.slot_everywhere() : nullptr);
      case CollAlgo::kPull:
        if (!call_.ready_all()) return false;
        return by_copies([&](int, size_t, size_t at) { return call_.staging(call_.rank()) + at; },
                         [&](int p, size_t, size_t at) { return call_.staging(p) + at; },
                         /*once=*/to != ReduceTo::kOwner, nullptr);
      default:
        return direct();
    }
  }

  /// What rank `r` ends up with, in elements of `send`.
  TW_FN Range owned(int r) const {
    if (to == ReduceTo::kOwner)
      return slice_of(args_.send_counts, args_.send_displs, args_.count, r);
    return {0, args_.count};
  }
  TW_FN bool reduces(int r) const { return to != ReduceTo::kRoot || r == args_.root; }

  /// Where the result for element `at` of `send` goes on a rank that owns it.
  TW_FN size_t result_at(int r, size_t at) const {
    return (to == ReduceTo::kOwner ? at - owned(r).begin : at) * args_.element;
  }

  TW_FN const char* input(size_t at) const { return send_ + at * args_.element; }
  TW_FN Source own_source(size_t at) const {
    return {input(at), args_.reduction.factor, args_.reduction.scaled != 0};
  }
  TW_FN void store_input(char* to_memory, Range part) {
    block_.store_input(args_.reduction, to_memory, input(part.begin), part.size(), args_.element,
                       args_.store);
  }

  // ---- Packets ----

  TW_FN bool by_packets() {
    const size_t granule = Target::kPacketPayload / args_.element;
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.peer(i);
      if (!reduces(p)) continue;
      const Range whole = owned(p);
      const Range part = call_.share(whole, granule);
      if (call_.silent(part)) continue;
      if (!call_.inbox_ready(p)) return false;
      block_.put_packets(call_.inbox_at(p, (part.begin - whole.begin) * args_.element),
                         input(part.begin), part.size() * args_.element, call_.word(),
                         &args_.reduction);
    }
    if (!reduces(call_.rank())) return true;
    const Range whole = owned(call_.rank());
    const Range part = call_.share(whole, granule);
    if (call_.silent(part)) return true;
    call_.heard_all();
    const size_t offset = (part.begin - whole.begin) * args_.element;
    if (!block_.reduce_packets(
            args_.reduction, recv_ + result_at(call_.rank(), part.begin), input(part.begin),
            call_.size(), call_.rank(), [&](int r) { return call_.inbox_from(r, offset); },
            part.size(), args_.element, call_.word()))
      return false;
    for (int i = 1; i < call_.size(); ++i)
      if (reduces(call_.peer(i)))
        call_.expect_packets(call_.peer(i), offset, part.size() * args_.element);
    return true;
  }

  // ---- One-shot through slots or own staging. at(peer, bytes into what the peer owns, bytes into
  // `send`) is where a peer's part is put, from(peer, ...) where a peer's data is found. `once`:
  // all peers take the same copy. `everywhere`: one address for every at(peer, 0, 0), or null. In
  // place is safe: a step's inputs have left before it is reduced.
  // ----

  template <class At, class From>
  TW_FN bool by_copies(At at, From from, bool once, char* everywhere) {
    size_t steps = 0;
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.peer(i);
      if (!reduces(p)) continue;
      if (!call_.ready(p)) return false;
      steps = larger(steps, steps_of(owned(p)).count);
    }
    for (size_t k = 0; k < steps; ++k) {
      if (everywhere != nullptr) {
        put_step_everywhere(k, at, everywhere);
      } else {
        put_step(k, at, once);
      }
    }
    if (!reduces(call_.rank())) return true;
    const Range whole = owned(call_.rank());
    const Steps mine = steps_of(whole);
    for (size_t k = 0; k < mine.count; ++k) {
      if (!call_.wait_step(k)) return false;
      const Range part = mine.of(share(whole), k);
      const size_t in_owned = (part.begin - whole.begin) * args_.element;
      const size_t in_send = part.begin * args_.element;
      block_.reduce(
          args_.reduction, call_.size(),
          [&](int r) {
            return r == call_.rank() ? own_source(part.begin)
                                     : Source{from(r, in_owned, in_send), 0, false};
          },
          1,
          [&](int) {
            return Destination{recv_ + result_at(call_.rank(), part.begin), StorePolicy::kPlain};
          },
          part.size(), args_.element);
    }
    return true;
  }

  template <class At>
  TW_FN void put_step(size_t k, At at, bool once) {
    bool copied = false;
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.peer(i);
      if (!reduces(p)) continue;
      const Range whole = owned(p);
      const Steps steps = steps_of(whole);
      if (k >= steps.count) continue;
      const Range part = steps.of(share(whole), k);
      if (!copied || !once)
        store_input(at(p, (part.begin - whole.begin) * args_.element, part.begin * args_.element),
                    part);
      copied = true;
      call_.signal_step(k, p);
    }
  }

  /// Step `k` of the whole message, to all peers at once.
  template <class At>
  TW_FN void put_step_everywhere(size_t k, At at, char* everywhere) {
    const Range whole = owned(call_.rank());
    const Range part = steps_of(whole).of(share(whole), k);
    const size_t offset = part.begin * args_.element;
    const auto target = [&](int i) { return at(call_.peer(i + 1), offset, offset); };
    if (args_.reduction.scaled) {
      block_.reduce(
          {args_.reduction.type, TW_SUM, 0, 0}, 1, [&](int) { return own_source(part.begin); },
          call_.size() - 1,
          [&](int i) {
            return Destination{target(i), args_.store};
          },
          part.size(), args_.element, everywhere + offset);
    } else {
      block_.store_all(call_.size() - 1, target, everywhere + offset, input(part.begin),
                       part.size() * args_.element, args_.store);
    }
    call_.signal_step(k);
  }

  // ---- Direct: every rank tells where its buffers are. If all that are needed are windows:
  // two-shot in place. Else all ranks go through their staging. ----

  TW_FN bool direct() {
    const bool known_staged = !usable(call_.rank(), args_.send_at, args_.recv_at);
    call_.enter(AnyPeer(), [&](int) {
      return EntryPayload{args_.send_at, args_.recv_at, args_.reduction.factor, 0, args_.history};
    });
    if (known_staged && !(one_shot() ? put_all() : put_round(0))) return false;
    if (!call_.wait_step(0)) return false;
    // In one shot a peer that has our input is done with us, and may enter its next call: entries
    // are not read then. Else it waits for what this rank does after this.
    if (known_staged && one_shot()) return staged(true);
    bool windows = !known_staged;
    for (int r = 0; r < call_.size(); ++r) {
      if (r == call_.rank()) continue;
      if (!call_.entered_alike(r)) return false;
      const FlagLine& entry = call_.entry(r);
      windows = windows && usable(r, entry.send_at, entry.recv_at);
    }
    if (!windows) return staged(known_staged);
    reduce_windows();
    call_.leave(AnyPeer());
    return call_.wait_left(AnyPeer());
  }

  /// Whether rank r's buffers are windows where peers have to reach them.
  TW_FN bool usable(int r, uint64_t send_at, uint64_t recv_at) const {
    if (to == ReduceTo::kOwner) return send_at != 0;
    return send_at != 0 && (recv_at != 0 || !reduces(r));
  }

  /// The part of `range` (of all elements) that rank `r` reduces in a two-shot.
  TW_FN Range part_at(int r, Range range) const {
    return part_of(range, r, call_.size(), granule());
  }

  /// Reads this rank's share of every input and writes it to all who get it. A share is touched by
  /// no other rank, so in place is safe. Every line is read once and written once.
  TW_FN void reduce_windows() {
    const Range mine = to == ReduceTo::kOwner ? share(owned(call_.rank()))
                                              : part_at(call_.rank(), share(owned(call_.rank())));
    const size_t offset = mine.begin * args_.element;
    block_.reduce(
        args_.reduction, call_.size(),
        [&](int r) {
          if (r == call_.rank()) return own_source(mine.begin);
          const FlagLine& entry = call_.entry(r);
          return Source{call_.window(r, entry.send_at) + offset, entry.factor,
                        args_.reduction.scaled != 0};
        },
        to == ReduceTo::kEveryone ? call_.size() : 1,
        [&](int d) {
          const int r = to == ReduceTo::kEveryone ? d
                        : to == ReduceTo::kRoot   ? args_.root
                                                  : call_.rank();
          char* result = r == call_.rank() ? recv_ : call_.window(r, call_.entry(r).recv_at);
          return Destination{result + result_at(r, mine.begin), args_.store};
        },
        mine.size(), args_.element, results_everywhere(offset));
  }

  /// One address for byte `offset` of every rank's result, or null.
  TW_FN char* results_everywhere(size_t offset) const {
    if constexpr (to == ReduceTo::kEveryone) {
      if (args_.comm.multicasts == nullptr) return nullptr;
      for (int r = 0; r < call_.size(); ++r)
        if (r != call_.rank() && call_.entry(r).recv_at != args_.recv_at) return nullptr;
      char* results = call_.window_everywhere(args_.recv_at);
      return results == nullptr ? nullptr : results + offset;
    }
    return nullptr;
  }

  // ---- Staged: a pipeline of rounds through staging. In round k a rank
  //   A(k) copies the parts of its input that other ranks reduce into `in` of buffer k % kDepth;
  //        signals step k + 1
  //   B(k) waits for every peer's A(k); reduces its part from the peers' `in` and its own input
  //        into its `recv` and the `out` of buffer k % kDepth; signals done k + 1
  //   C(k) waits for every peer's B(k); copies the parts that the peers reduced to `recv`
  // in the order A(k + 1), B(k), C(k - 1). C waits even where there is nothing to copy.
  //
  // Reuse of a buffer, kDepth = 3:
  //   `in`: A(k + 1) overwrites round k - 2. Before it this rank ran C(k - 2), so every peer had
  //         done B(k - 2), the last reader of that `in`.
  //   `out`: B(k) overwrites round k - 3. Before it this rank saw every peer's A(k), which follows
  //         the peer's C(k - 3), the last reader of that `out`.
  // Progress: A waits for nothing; B(k) for A(k); C(k) for B(k): no cycle, whatever the order of
  // ranks. In place: `recv` is written in round k only where every peer's copy of that input was
  // taken in A(k), or where only this rank reads it. ----

  static constexpr size_t kDepth = kStagedDepth;

  // Two ranks with little: each copies its whole input to `in` of buffer 0 and reduces all of it.
  // As many bytes go between them, with one wait less. Reuse: the next call writes the other set.
  static constexpr size_t kOneShot = 32 << 10;

  TW_FN bool one_shot() const {
    const size_t bytes = share(owned(0)).size() * args_.element;
    return to == ReduceTo::kEveryone && call_.size() == 2 && bytes <= kOneShot &&
           bytes <= 2 * part_bytes();
  }
  TW_FN bool put_all() {
    if (!call_.ready_all()) return false;
    store_input(buffer(call_.rank(), 0), share(owned(0)));
    call_.signal_step(1);
    return true;
  }
  TW_FN bool reduce_all() {
    if (!call_.wait_step(1)) return false;
    const Range part = share(owned(0));
    block_.reduce(
        args_.reduction, call_.size(),
        [&](int r) {
          return r == call_.rank() ? own_source(part.begin) : Source{buffer(r, 0), 0, false};
        },
        1,
        [&](int) {
          return Destination{recv_ + part.begin * args_.element, StorePolicy::kPlain};
        },
        part.size(), args_.element);
    return true;
  }

  TW_FN bool staged(bool first_is_put) {
    if (one_shot()) return (first_is_put || put_all()) && reduce_all();
    const size_t rounds = rounds_of_call();
    for (size_t k = 0; k < rounds + 2; ++k) {
      if (k < rounds && !(k == 0 && first_is_put) && !put_round(k)) return false;
      if (k >= 1 && k <= rounds && !reduce_round(k - 1)) return false;
      if (k >= 2 && !take_round(k - 2)) return false;
    }
    return true;
  }

  TW_FN bool put_round(size_t k) {
    if (k < kDepth && !call_.ready_all()) return false;
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.peer(i);
      store_input(buffer(call_.rank(), k) + p * part_bytes(), round_part(p, k));
    }
    call_.signal_step(k + 1);
    return true;
  }

  TW_FN bool reduce_round(size_t k) {
    if (!call_.wait_step(k + 1)) return false;
    const Range part = round_part(call_.rank(), k);
    // Only what this rank itself does not get, or what others get too, goes through `out`.
    const bool keeps = reduces(call_.rank());
    const bool gives = to != ReduceTo::kOwner && call_.size() > 1 &&
                       !(to == ReduceTo::kRoot && call_.rank() == args_.root);
    block_.reduce(
        args_.reduction, call_.size(),
        [&](int r) {
          return r == call_.rank() ? own_source(part.begin)
                                   : Source{buffer(r, k) + call_.rank() * part_bytes(), 0, false};
        },
        (keeps ? 1 : 0) + (gives ? 1 : 0),
        [&](int d) {
          if (d == 0 && keeps)
            return Destination{recv_ + result_at(call_.rank(), part.begin), StorePolicy::kPlain};
          return Destination{out(call_.rank(), k), args_.store};
        },
        part.size(), args_.element);
    call_.signal_done(k + 1);
    return true;
  }

  TW_FN bool take_round(size_t k) {
    for (int i = 1; i < call_.size(); ++i) {
      const int p = call_.source(i);
      if (!call_.wait_done(k + 1, p)) return false;
      if (to == ReduceTo::kOwner || !reduces(call_.rank())) continue;
      const Range part = round_part(p, k);
      block_.copy(recv_ + result_at(call_.rank(), part.begin), out(p, k),
                  part.size() * args_.element);
    }
    return true;
  }

  /// What rank `r` reduces in round `k`, of this block's share.
  TW_FN Range round_part(int r, size_t k) const {
    if (to == ReduceTo::kOwner) return rounds_of(owned(r)).of(share(owned(r)), k);
    return part_at(r, rounds_of(owned(r)).of(share(owned(r)), k));
  }
  TW_FN size_t rounds_of_call() const {
    size_t rounds = 1;
    for (int r = 0; r < (to == ReduceTo::kOwner ? call_.size() : 1); ++r)
      rounds = larger(rounds, rounds_of(owned(r)).count);
    return rounds;
  }

  /// Buffers of this block in `owner`'s staging: `in` of one part for each rank, then `out`.
  TW_FN char* buffer(int owner, size_t k) const {
    const size_t each = staged_lanes(args_.comm.layout, args_.call) * part_bytes();
    return call_.staging(owner) + (block_.index() * kDepth + k % kDepth) * each;
  }
  TW_FN char* out(int owner, size_t k) const {
    return buffer(owner, k) + call_.size() * part_bytes();
  }
  /// Bytes of the largest part of a round.
  TW_FN size_t part_bytes() const {
    return staged_lane_bytes(args_.comm.layout, Target::kGranule, args_.call, block_.blocks());
  }

  // ---- Shares of this block, in elements ----

  TW_FN size_t granule() const { return Target::kGranule / args_.element; }
  TW_FN Range share(Range range) const { return call_.share(range, granule()); }
  TW_FN Steps steps_of(Range range) const {
    return Steps(share(range).size(), args_.chunk / args_.element, ~size_t{0});
  }
  /// A round is what one rank reduces in it, or all ranks together: whole granules each.
  TW_FN Steps rounds_of(Range range) const {
    const size_t ranks = to == ReduceTo::kOwner ? 1 : call_.size();
    const size_t limit = part_bytes() / args_.element * ranks;
    const size_t chunk = (args_.chunk + Target::kGranule - 1) / Target::kGranule * granule();
    return Steps(share(range).size(), chunk == 0 ? limit : chunk * ranks, limit);
  }

  Block& block_;
  const CollArgs& args_;
  Call<Block> call_;
  const char* send_;
  char* recv_;
};

/// Reduces the message of one call.
template <ReduceTo to, class Block>
TW_FN void reduce_message(Block& block, const CollArgs& args) {
  Reducer<Block, to>(block, args).run();
}

}  // namespace TW_NS
