// The block on CPUs: one thread that has every role. Contracts: tile/block.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/kernels/coll.h"
#include "tilewire/tile/comm_view.h"
#include "tilewire/tile/impl/cpu/reduce.h"
#include "tilewire/tile/impl/cpu/vector.h"

namespace TW_NS {

/// `relaxed`: the site whose release is left out. Tests run kernels on such blocks to show that
/// ThreadSanitizer sees a missing release there; it is kNone everywhere else.
template <Site relaxed>
class CpuBlock {
 public:
  CpuBlock(int index, int blocks, const char* name, WaitContext* wait)
      : index_(index), blocks_(blocks), name_(name), wait_(wait) {}

  TW_FN int index() const { return index_; }
  TW_FN int blocks() const { return blocks_; }
  TW_FN const char* name() const { return name_; }

  TW_FN void copy(void* to, const void* from, size_t bytes) {
    copy_pieces(to, from, bytes, /*stream=*/false);
  }

  TW_FN void store(void* to, const void* from, size_t bytes, StorePolicy policy) {
    const bool stream = policy == StorePolicy::kNonTemporal;
    copy_pieces(to, from, bytes, stream);
    streamed_ |= stream;
  }

  /// The lines are the reader's: to have them before they are written saves a way between cores.
  TW_FN void expect_store(void* to, size_t bytes) {
    constexpr size_t kMost = 10 * kUnit;  // what a core can wait for at once
    const size_t end = bytes < kMost ? bytes : kMost;
    for (size_t at = 0; at < end; at += kUnit) __builtin_prefetch(bytes_at(to) + at, 1);
  }

  template <class To>
  TW_FN void store_all(int n, To to, void* /*everywhere*/, const void* from, size_t bytes,
                       StorePolicy policy) {
    for (int i = 0; i < n; ++i) store(to(i), from, bytes, policy);
  }

  template <class SourceOf, class DestinationOf>
  TW_FN void reduce(const Reduction& reduction, int sources, SourceOf source, int destinations,
                    DestinationOf destination, size_t count, size_t element,
                    void* /*everywhere*/ = nullptr) {
    const Byte* from[kMaxRanks];
    Byte* to[kMaxRanks];
    uint64_t factors[kMaxRanks];
    Operands o{from, to, factors, 0, 0, sources, destinations, reduction.op == TW_AVG};
    for (int s = 0; s < sources; ++s) {
      const Source input = source(s);
      from[s] = static_cast<const Byte*>(input.data);
      if (input.scaled) {
        factors[s] = input.factor;
        o.scaled |= uint64_t{1} << s;
      }
    }
    for (int d = 0; d < destinations; ++d) {
      const Destination output = destination(d);
      to[d] = static_cast<Byte*>(output.data);
      if (output.policy == StorePolicy::kNonTemporal) o.stream |= uint64_t{1} << d;
    }
    streamed_ |= o.stream != 0;
    const ReduceLoop loop = reduce_loop_of(reduction.type, reduction.op);
    size_t bytes = count * element;
    for (; bytes > kPiece && !ended(); bytes -= kPiece) {
      loop(o, kPiece);
      for (int i = 0; i < sources; ++i) from[i] += kPiece;
      for (int i = 0; i < destinations; ++i) to[i] += kPiece;
    }
    if (bytes <= kPiece) loop(o, bytes);
  }

  TW_FN void store_input(const Reduction& reduction, void* to, const void* from, size_t count,
                         size_t element, StorePolicy policy) {
    if (!reduction.scaled) return store(to, from, count * element, policy);
    Reduction product = reduction;
    product.op = TW_SUM;
    reduce(
        product, 1,
        [&](int) {
          return Source{from, reduction.factor, true};
        },
        1,
        [&](int) {
          return Destination{to, policy};
        },
        count, element);
  }

  TW_FN void put_packets(void* inbox, const void* from, size_t bytes, uint64_t word,
                         const Reduction* scale) {
    Byte* line = bytes_at(inbox);
    const Byte* in = bytes_at(from);
    if (__builtin_expect(scale != nullptr && scale->scaled, 0))
      return put_scaled_packets(line, in, bytes, word, *scale);
    for (; bytes > Target::kPacketPayload; bytes -= Target::kPacketPayload) {
      copy_payload(line, in);
      store_word<Site::kPacket>(packet_word(line), word);
      line += Target::kPacketBytes;
      in += Target::kPacketPayload;
    }
    copy_small(line, in, bytes);
    store_word<Site::kPacket>(packet_word(line), word);
  }

  TW_FN bool get_packets(void* to, const void* inbox, size_t bytes, uint64_t word, int peer) {
    const Byte* line = bytes_at(inbox);
    Byte* out = bytes_at(to);
    for (; bytes > Target::kPacketPayload; bytes -= Target::kPacketPayload) {
      if (!wait_digest(packet_word(line), word, peer)) return false;
      copy_payload(out, line);
      line += Target::kPacketBytes;
      out += Target::kPacketPayload;
    }
    if (!wait_digest(packet_word(line), word, peer)) return false;
    copy_small(out, line, bytes);
    return true;
  }

  template <class Inbox>
  TW_FN bool reduce_packets(const Reduction& reduction, void* to, const void* own, int ranks,
                            int self, Inbox inbox, size_t count, size_t element, uint64_t word) {
    const Byte* source[kMaxRanks];
    Byte* destination[1];
    uint64_t factors[kMaxRanks];
    Operands o{source, destination, factors, 0, 0, ranks, 1, reduction.op == TW_AVG};
    if (reduction.scaled) {
      o.scaled = uint64_t{1} << self;
      factors[self] = reduction.factor;
    }
    const ReduceLoop loop = reduce_loop_of(reduction.type, reduction.op);
    const size_t bytes = count * element;
    if (bytes <= Target::kPacketPayload) {
      // One packet: reduced where it lies, as a unit whose last bytes, the words, are not used.
      Byte mine[kUnit] __attribute__((aligned(kUnit)));
      Byte sum[kUnit] __attribute__((aligned(kUnit)));
      for (int i = 1; i < ranks; ++i) {
        const int r = self + i < ranks ? self + i : self + i - ranks;
        source[r] = bytes_at(inbox(r));
        if (!wait_digest(packet_word(source[r]), word, r)) return false;
      }
      load_padded(mine, bytes_at(own), bytes);
      source[self] = mine;
      destination[0] = sum;
      loop(o, kUnit);
      copy_small(bytes_at(to), sum, bytes);
      return true;
    }
    Byte unpacked[kMaxRanks][kUnpacked];
    for (size_t begin = 0; begin < bytes; begin += kUnpacked) {
      const size_t part = bytes - begin < kUnpacked ? bytes - begin : kUnpacked;
      for (int i = 1; i < ranks; ++i) {
        const int r = self + i < ranks ? self + i : self + i - ranks;
        const void* packets = bytes_at(inbox(r)) + begin / kUnpacked * kUnpackedLines;
        if (!get_packets(unpacked[r], packets, part, word, r)) return false;
        source[r] = unpacked[r];
      }
      source[self] = bytes_at(own) + begin;
      destination[0] = bytes_at(to) + begin;
      loop(o, part);
    }
    return true;
  }

  template <class Line>
  TW_FN void signal(Site site, int n, Line line, uint64_t value) {
    if (!complete_stores()) return;
    for (int i = 0; i < n; ++i) {
      FlagLine* to = line(i);
      if (to != nullptr) store_release(site, &to->value, value);
    }
  }

  template <class Line, class Payload>
  TW_FN void signal(Site site, int n, Line line, uint64_t value, Payload payload) {
    if (!complete_stores()) return;
    for (int i = 0; i < n; ++i) {
      FlagLine* to = line(i);
      if (to == nullptr) continue;
      const EntryPayload what = payload(i);
      to->send_at = what.send_at;
      to->recv_at = what.recv_at;
      to->factor = what.factor;
      to->bytes = what.bytes;
      to->history = what.history;
      store_release(site, &to->value, value);
    }
  }

  template <class Word, class Peer>
  TW_FN bool wait_all(int n, Word word, uint64_t value, Peer peer, uint64_t index) {
    for (int i = 0; i < n; ++i) {
      const uint64_t* w = word(i);
      if (w != nullptr && !wait(w, value, peer(i), index)) return false;
    }
    return true;
  }

  template <class Word, class Peer>
  TW_FN bool wait_digest_all(int n, Word word, uint64_t value, Peer peer) {
    for (int i = 0; i < n; ++i) {
      const uint64_t* w = word(i);
      if (w != nullptr && !wait_digest(w, value, peer(i))) return false;
    }
    return true;
  }

  TW_FN bool wait(const uint64_t* word, uint64_t value, int peer, uint64_t index) {
    if (__builtin_expect(cut_short_, 0)) return false;
    if (__builtin_expect(load(word) >= value, 1)) return true;
    return wait_long(word, value, peer, index);
  }

  TW_FN bool wait_digest(const uint64_t* word, uint64_t value, int peer) {
    for (int spin = 0;; ++spin) {
      const uint64_t got = load(word);
      if (got == value) return true;
      if (got >> kDigestBits >= value >> kDigestBits) return digest_matches(got, value, peer);
      if (wait_ == nullptr || spin < wait_->spins) {
        pause();
      } else if (!wait_slow(word, value >> kDigestBits << kDigestBits, peer, 0)) {
        return false;
      }
    }
  }

  __attribute__((noinline, cold)) void report_mismatch(int peer, uint64_t got, uint64_t want) {
    const WaitSite where{name_, peer, index_, 0};
    if (wait_ != nullptr && wait_->mismatch != nullptr) wait_->mismatch(wait_, &where, got, want);
  }

  TW_FN bool whole() const { return !cut_short_; }

  /// False when the comm has ended; this block signals nothing any more then.
  TW_FN bool go_on() { return !ended(); }

  TW_FN bool idle(int peer, uint64_t index, uint64_t round) {
    pause();
    if (wait_ == nullptr || round < static_cast<uint64_t>(wait_->spins)) return true;
    const WaitSite where{name_, peer, index_, index};
    return wait_->idle(wait_, &where, round - wait_->spins);
  }

  TW_FN uint64_t load(const uint64_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

  TW_FN void set(uint64_t* word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELAXED);  // a slow wait beside it may look
  }

  TW_FN void publish(Site site, uint64_t* word, uint64_t value) {
    if (!complete_stores()) return;
    store_release(site, word, value);
  }

  TW_FN void record(CallRecord* to, const CallRecord& from, uint64_t* next) {
    __atomic_store_n(next, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&to->call, from.call, __ATOMIC_RELEASE);
    __atomic_store_n(&to->type, from.type, __ATOMIC_RELEASE);
    __atomic_store_n(&to->op, from.op, __ATOMIC_RELEASE);
    __atomic_store_n(&to->root, from.root, __ATOMIC_RELEASE);
    __atomic_store_n(&to->count, from.count, __ATOMIC_RELEASE);
    __atomic_store_n(&to->digest, from.digest, __ATOMIC_RELEASE);
    __atomic_store_n(&to->parts, from.parts, __ATOMIC_RELEASE);
    for (int i = 0; i < kRecordParts; ++i)
      __atomic_store_n(&to->part[i], from.part[i], __ATOMIC_RELEASE);
    __atomic_store_n(&to->seq, from.seq, __ATOMIC_RELEASE);
  }

  /// Orders non-temporal stores before this thread's later stores, as signals do.
  TW_FN void complete() { complete_stores(); }

  /// Counts to `full`, of all blocks together: whether this made it full. Then it is 0 again.
  TW_FN bool count_to(uint64_t full, uint64_t* count) {
    if (!complete_stores()) return false;
    if (full == 1) return true;
    if (__atomic_add_fetch(count, 1, __ATOMIC_ACQ_REL) != full) return false;
    __atomic_store_n(count, 0, __ATOMIC_RELAXED);
    return true;
  }

  TW_FN bool last(uint64_t* finished) {
    if (blocks_ == 1) return true;
    if (__atomic_add_fetch(finished, 1, __ATOMIC_ACQ_REL) != static_cast<uint64_t>(blocks_))
      return false;
    __atomic_store_n(finished, 0, __ATOMIC_RELAXED);
    return true;
  }

 private:
  /// Long moves look at the abort word after each piece, so that a rank with much to move learns of
  /// a dead peer in time. After a move that was cut short this block signals nothing and waits for
  /// nothing any more, so that no peer takes the data for whole.
  static constexpr size_t kPiece = size_t{4} << 20;

  TW_INLINE bool ended() {
    cut_short_ = cut_short_ || (wait_ != nullptr && load_word(wait_->abort) != 0);
    return cut_short_;
  }
  TW_INLINE static uint64_t load_word(const uint64_t* word) {
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
  }

  TW_INLINE void copy_pieces(void* to, const void* from, size_t bytes, bool stream) {
    Byte* out = bytes_at(to);
    const Byte* in = bytes_at(from);
    for (; bytes > kPiece; bytes -= kPiece) {
      if (ended()) return;
      copy_bytes(out, in, kPiece, stream);
      out += kPiece;
      in += kPiece;
    }
    copy_bytes(out, in, bytes, stream);
  }

  TW_INLINE static Byte* bytes_at(void* p) { return static_cast<Byte*>(p); }
  TW_INLINE static const Byte* bytes_at(const void* p) { return static_cast<const Byte*>(p); }

  /// Packets that reduce_packets unpacks at once: whole units of payload.
  static constexpr size_t kUnpackedLines = 8 * Target::kPacketBytes;
  static constexpr size_t kUnpacked = 8 * Target::kPacketPayload;

  TW_INLINE static uint64_t* packet_word(Byte* line) {
    return reinterpret_cast<uint64_t*>(line + Target::kPacketPayload);
  }
  TW_INLINE static const uint64_t* packet_word(const Byte* line) {
    return reinterpret_cast<const uint64_t*>(line + Target::kPacketPayload);
  }

  template <Site site>
  TW_INLINE static void store_word(uint64_t* word, uint64_t value) {
    __atomic_store_n(word, value, site == relaxed ? __ATOMIC_RELAXED : __ATOMIC_RELEASE);
  }

  /// The order must be a constant where it is used, so the sites are told apart here.
  TW_INLINE static void store_release(Site site, uint64_t* word, uint64_t value) {
    switch (site) {
      case Site::kEntry:
        return store_word<Site::kEntry>(word, value);
      case Site::kExit:
        return store_word<Site::kExit>(word, value);
      case Site::kIn:
        return store_word<Site::kIn>(word, value);
      case Site::kOut:
        return store_word<Site::kOut>(word, value);
      case Site::kEntered:
        return store_word<Site::kEntered>(word, value);
      case Site::kChannel:
        return store_word<Site::kChannel>(word, value);
      case Site::kConsumed:
        return store_word<Site::kConsumed>(word, value);
      case Site::kSignal:
        return store_word<Site::kSignal>(word, value);
      default:
        __atomic_store_n(word, value, __ATOMIC_RELEASE);
    }
  }

  /// Non-temporal stores are not ordered by a release store: they are fenced once, before it.
  /// False when this block must not signal.
  TW_INLINE bool complete_stores() {
    if (kHasStream && streamed_) {
      stream_fence();
      streamed_ = false;
    }
    return __builtin_expect(!cut_short_, 1);
  }

  void put_scaled_packets(Byte* line, const Byte* in, size_t bytes, uint64_t word,
                          const Reduction& scale) {
    Byte product[kUnit];
    do {
      const size_t part = bytes < Target::kPacketPayload ? bytes : Target::kPacketPayload;
      Byte* const to = product;
      const Operands o{&in, &to, &scale.factor, 1, 0, 1, 1, false};
      reduce_loop_of(scale.type, TW_SUM)(o, part);
      copy_small(line, product, part);
      store_word<Site::kPacket>(packet_word(line), word);
      line += Target::kPacketBytes;
      in += part;
      bytes -= part;
    } while (bytes != 0);
  }

  bool wait_long(const uint64_t* word, uint64_t value, int peer, uint64_t index) {
    const int spins = wait_ == nullptr ? 0 : wait_->spins;
    for (int spin = 0; wait_ == nullptr || spin < spins; ++spin) {
      pause();
      if (load(word) >= value) return true;
    }
    return wait_slow(word, value, peer, index) && load(word) >= value;
  }

  __attribute__((noinline, cold)) bool wait_slow(const uint64_t* word, uint64_t value, int peer,
                                                 uint64_t index) {
    const WaitSite where{name_, peer, index_, index};
    return wait_->slow(wait_, &where, word, value);
  }

  __attribute__((noinline, cold)) bool digest_matches(uint64_t got, uint64_t value, int peer) {
    // The peer is ahead: its word of this epoch is gone.
    if (got >> kDigestBits != value >> kDigestBits) return true;
    report_mismatch(peer, got, value);
    return false;
  }

  int index_;
  int blocks_;
  const char* name_;
  WaitContext* wait_;
  bool streamed_ = false;   // non-temporal stores since the last signal
  bool cut_short_ = false;  // a move ended early: see kPiece
};

using Block = CpuBlock<Site::kNone>;

}  // namespace TW_NS
