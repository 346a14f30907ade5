// The slow path of waiting. A wait ends when its word has the value, or when the comm does: by a
// peer's or the user's abort, a dead peer (monitor), a peer that left, a mismatch, or the deadline.
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "lib/base/deadline.h"
#include "lib/base/error.h"
#include "lib/base/thread.h"
#include "lib/base/types.h"
#include "lib/comm/call_text.h"
#include "lib/comm/comm.h"
#include "lib/comm/control.h"
#include "lib/comm/host_wait.h"

namespace tw {
namespace {

// Yields, then sleeps. Ranks with cores of their own yield for longer than any sleep takes, the way
// back included: whoever waits for a rank that overslept is still awake when it comes, else the two
// would go on sleeping in turn. A core that ranks share is wanted by others.
constexpr int64_t kYieldNs = 2'000'000;
constexpr int64_t kSharedYieldNs = 200'000;
constexpr int64_t kFirstSleepNs = 20'000;  // doubles up to
constexpr int64_t kLongestSleepNs = 1'000'000;
constexpr int kLooksPerCount = 50;      // counting threads takes longer
constexpr int64_t kLookNs = 2'000'000;  // how often peers are looked at
constexpr int kYieldsPerClock = 8;
constexpr int kRecordLooks = 20'000;       // 1 s and more
constexpr uint64_t kIdleYields = 1 << 16;  // of wait_idle: then the clock is read every time

uint64_t load(const uint64_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

/// One word of a record.
template <class T>
void store(T* word, T value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

void sleep_ns(int64_t ns) {
  const timespec duration = {0, static_cast<long>(ns)};
  nanosleep(&duration, nullptr);
}

int64_t yield_ns(const WaitContext& context) {
  return context.spins == 0 ? kSharedYieldNs : kYieldNs;
}

struct Waiting {
  Comm& comm;
  const WaitSite& site;
  const uint64_t* word;
  uint64_t want;
};

/// The number of the call that this rank is in, or of its next one. A message's wait may look while
/// a collective ends beside it.
uint64_t this_call(const Comm& comm) { return comm.epoch() + 1; }

/// A record word by word, as the rank may be writing it.
void load_record(const CallRecord& record, CallRecord& out) {
  out.seq = load(&record.seq);
  out.call = __atomic_load_n(&record.call, __ATOMIC_ACQUIRE);
  out.type = __atomic_load_n(&record.type, __ATOMIC_ACQUIRE);
  out.op = __atomic_load_n(&record.op, __ATOMIC_ACQUIRE);
  out.root = __atomic_load_n(&record.root, __ATOMIC_ACQUIRE);
  out.count = __atomic_load_n(&record.count, __ATOMIC_ACQUIRE);
  out.digest = __atomic_load_n(&record.digest, __ATOMIC_ACQUIRE);
  out.parts = __atomic_load_n(&record.parts, __ATOMIC_ACQUIRE);
  for (size_t i = 0; i < std::size(out.part); ++i)
    out.part[i] = __atomic_load_n(&record.part[i], __ATOMIC_ACQUIRE);
}

/// `record` as it is in host memory, when it is of call `sequence`.
bool host_record_at(const CallRecord& record, uint64_t sequence, CallRecord& out) {
  if (load(&record.seq) != sequence) return false;
  load_record(record, out);
  out.seq = sequence;
  return load(&record.seq) == sequence;
}

/// The call that `rank` was in at `sequence`, when its record is still there. On GPUs kernels write
/// one, and the host another of a call that says something before its kernel runs (write_record).
bool record_at(const Comm& comm, int rank, uint64_t sequence, CallRecord& out) {
  const size_t place = sequence % kCallRecords;
  const CallRecord& record = comm.kernel_control(rank).records[place];
  if (!comm.device().is_host()) {
    if (host_record_at(comm.control_block(rank).records[place], sequence, out)) return true;
    // Copies of what lies in device memory; the second shows that the first was whole.
    uint64_t after = 0;
    comm.device().read(&out, &record, sizeof out);
    if (out.seq != sequence) return false;
    comm.device().read(&after, &record.seq, sizeof after);
    return after == sequence;
  }
  return host_record_at(record, sequence, out);
}

FusedNote& note_place(const Comm& comm, int rank, uint64_t sequence) {
  return host_control(comm.control_block(rank)).notes[sequence % kCallRecords];
}

/// The words of a note after `seq`.
constexpr size_t kNoteWords = (sizeof(FusedNote) - sizeof(uint64_t)) / sizeof(uint64_t);
uint64_t* words_of(FusedNote& note) { return &note.seq + 1; }

/// The note of `rank`'s call `sequence`: false for a call that is not fused.
bool note_at(const Comm& comm, int rank, uint64_t sequence, FusedNote& out) {
  FusedNote& note = note_place(comm, rank, sequence);
  if (load(&note.seq) != sequence) return false;
  uint64_t words[kNoteWords];
  for (size_t i = 0; i < kNoteWords; ++i) words[i] = load(words_of(note) + i);
  out.seq = sequence;
  std::memcpy(&out.call, words, sizeof words);
  return load(&note.seq) == sequence;
}

/// What this rank and `peer` called, in words.
std::pair<std::string, std::string> calls_text(const Comm& comm, int peer, const CallRecord& mine,
                                               const CallRecord& theirs) {
  FusedNote own, other;
  const bool own_fused = note_at(comm, comm.rank(), mine.seq, own);
  const bool other_fused = note_at(comm, peer, mine.seq, other);
  if (own_fused && other_fused) return {fused_text(own, other), fused_text(other, own)};
  return {own_fused ? fused_text(own, own) : call_text(mine),
          other_fused ? fused_text(other, other) : call_text(theirs)};
}

/// Ends the comm by the first call up to `sequence` in which this rank and `peer` differ. Digests
/// are chained (each holds all calls before), so that a call in which nobody heard of the peer is
/// found out in the next one; the first digest that differs is the culprit's. False when none does.
bool end_by_difference(Comm& comm, int peer, uint64_t sequence) {
  // Records that either rank has overwritten, or ended because it will soon, are passed over.
  constexpr uint64_t kLooked = kCallRecords - 1;
  const uint64_t oldest = sequence < kLooked ? 1 : sequence - kLooked + 1;
  CallRecord mine, theirs;
  for (uint64_t s = oldest; s <= sequence; ++s) {
    if (!record_at(comm, comm.rank(), s, mine) || !record_at(comm, peer, s, theirs)) continue;
    const bool same = mine.digest == theirs.digest && mine.call == theirs.call &&
                      mine.type == theirs.type && mine.op == theirs.op &&
                      mine.root == theirs.root && mine.count == theirs.count;
    if (same) continue;
    const auto [a, b] = calls_text(comm, peer, mine, theirs);
    comm.end(
        TW_ERROR_MISMATCH,
        text("call %llu: rank %d called %s, rank %d called %s%s",
             static_cast<unsigned long long>(s), comm.rank(), a.c_str(), peer, b.c_str(),
             a == b ? " (with another number of blocks, other displacements, other counts than "
                      "those shown, or an earlier call differed)"
                    : ""));
    return true;
  }
  return false;
}

/// A peer that is in another call of the same number than this rank will never do what it waits
/// for.
bool calls_differ(const Waiting& w) {
  // What kernels on a GPU are in, they compare themselves: records there are no look but a copy.
  return w.comm.device().is_host() && compare_this_call(w.comm);
}

/// Whether `is` holds for the rank that is waited for: for all others, when any would do.
template <class Is>
bool true_of_peer(const Waiting& w, Is is) {
  if (w.site.peer != kAnyPeer) return is(w.site.peer);
  for (int peer = 0; peer < w.comm.size(); ++peer)
    if (peer != w.comm.rank() && !is(peer)) return false;
  return true;
}

std::string peer_text(const Waiting& w) {
  return w.site.peer == kAnyPeer ? "any other rank" : text("rank %d", w.site.peer);
}

bool has_left(const Waiting& w) {
  return true_of_peer(
      w, [&](int peer) { return load(&host_control(w.comm.control_block(peer)).left) != 0; });
}

bool peer_left(const Waiting& w) {
  if (!has_left(w) || load(w.word) >= w.want) return false;
  // It left because the comm has ended: then our abort word was written before it left.
  if (load(w.comm.host_waiting()->abort) != 0) return true;
  w.comm.end(TW_ERROR_PEER_LOST, text("rank %d waited in %s for %s, which has destroyed the comm",
                                      w.comm.rank(), w.site.op, peer_text(w).c_str()));
  return true;
}

/// One thread that drives several ranks of its process must do so in a group or on streams: here it
/// waits for a rank that only it could run. (A block may wait for another one of its own rank.)
bool only_this_thread_could(const Waiting& w, int looks) {
  return looks % kLooksPerCount == 0 && w.site.peer != w.comm.rank() &&
         true_of_peer(w, [&](int peer) { return w.comm.same_process(peer); }) &&
         nobody_else_can_call();
}

bool waits_for_itself(const Waiting& w, int looks) {
  if (!only_this_thread_could(w, looks)) return false;
  w.comm.end(TW_ERROR_INVALID_STATE,
             text("rank %d waits in %s for %s of the same process, which no other thread can "
                  "run; valid: a thread for each rank, calls between tw_group_begin and "
                  "tw_group_end, or streams",
                  w.comm.rank(), w.site.op, peer_text(w).c_str()));
  return true;
}

/// Why a peer of this process may be late: where other threads live, nobody can tell that none of
/// them will come.
const char* hint(const Waiting& w) {
  return true_of_peer(w, [&](int peer) { return w.comm.same_process(peer); })
             ? " of the same process (one thread that drives several ranks needs tw_group_begin "
               "and tw_group_end, or streams)"
             : "";
}

bool is_message(const WaitSite& site) { return std::strcmp(site.op, "send_recv") == 0; }

void time_out(const Waiting& w, int64_t timeout_ns, uint64_t seen) {
  const unsigned long long index = w.site.index;
  std::string where = text("message %llu between them", index);
  if (w.site.block == kHostBlock)
    where = text("control call %llu of the comm", index);
  else if (!is_message(w.site))
    where = text("call %llu, block %d, step %llu: signal is %llu, expected %llu",
                 static_cast<unsigned long long>(this_call(w.comm)), w.site.block, index,
                 static_cast<unsigned long long>(seen), static_cast<unsigned long long>(w.want));
  w.comm.end(TW_ERROR_TIMEOUT, text("rank %d waited %lld ms in %s for %s%s: %s", w.comm.rank(),
                                    static_cast<long long>(timeout_ns / 1000000), w.site.op,
                                    peer_text(w).c_str(), hint(w), where.c_str()));
}

/// How long a wait has lasted. A process that was stopped, with its peers or alone, has not waited
/// meanwhile: more than a moment between two looks at the clock does not count.
class Waited {
 public:
  int64_t ns() const { return ns_; }
  /// Looks at the clock; returns the time.
  int64_t look() {
    constexpr int64_t kMoment = 1'000'000'000;
    const int64_t now = now_ns();
    ns_ += std::min(now - last_, kMoment);
    last_ = now;
    return now;
  }

 private:
  int64_t last_ = now_ns();
  int64_t ns_ = 0;
};

/// Polls until the word has the value, the comm ends, or `timeout_ns` (0 = never) has passed;
/// `seen`: what the word was last, less than the value when the outcome is a time-out.
enum class Outcome { kTrue, kEnded, kTimeOut };

template <class LookAtPeers>
Outcome poll(const WaitContext& context, const uint64_t* word, uint64_t want, int64_t timeout_ns,
             LookAtPeers look_at_peers, uint64_t* seen) {
  const uint64_t* const abort = context.abort;
  const int64_t yield = yield_ns(context);
  Waited waited;
  int64_t look = waited.look() + kLookNs, sleep = 0;
  bool late = false;  // then the word is looked at once more
  for (;;) {
    for (int i = 0; i < kYieldsPerClock; ++i) {
      *seen = load(word);
      if (*seen >= want) return Outcome::kTrue;
      if (load(abort) != 0) return load(word) >= want ? Outcome::kTrue : Outcome::kEnded;
      if (late) return Outcome::kTimeOut;
      if (sleep == 0) sched_yield();
    }
    if (sleep != 0) sleep_ns(sleep);
    const int64_t now = waited.look();
    if (waited.ns() >= yield)
      sleep = std::min(sleep == 0 ? kFirstSleepNs : 2 * sleep, kLongestSleepNs);
    if (now >= look) {
      look = now + kLookNs;
      if (look_at_peers()) return Outcome::kEnded;
    }
    late = timeout_ns != 0 && waited.ns() >= timeout_ns;
  }
}

}  // namespace

bool compare_last_calls(Comm& comm) {
  for (int peer = 0; peer < comm.size(); ++peer)
    if (peer != comm.rank() && end_by_difference(comm, peer, this_call(comm) - 1)) return true;
  return false;
}

void write_record(Comm& comm, const CallRecord& from) {
  CallRecord* const records = comm.control_block(comm.rank()).records;
  CallRecord& to = records[from.seq % kCallRecords];
  store(&records[(from.seq + 1) % kCallRecords].seq, uint64_t{0});
  store(&to.call, from.call);
  store(&to.type, from.type);
  store(&to.op, from.op);
  store(&to.root, from.root);
  store(&to.count, from.count);
  store(&to.digest, from.digest);
  store(&to.parts, from.parts);
  for (size_t i = 0; i < std::size(to.part); ++i) store(&to.part[i], from.part[i]);
  store(&to.seq, from.seq);
}

void write_note(Comm& comm, const FusedNote& from) {
  FusedNote& to = note_place(comm, comm.rank(), from.seq);
  uint64_t words[kNoteWords];
  std::memcpy(words, &from.call, sizeof words);
  store(&to.seq, uint64_t{0});
  // Whoever reads a word of the new note does not find its old `seq` afterwards.
  for (size_t i = 0; i < kNoteWords; ++i) store(words_of(to) + i, words[i]);
  store(&to.seq, from.seq);
}

void forget_record(Comm& comm, uint64_t sequence) {
  store(&comm.control_block(comm.rank()).records[sequence % kCallRecords].seq, uint64_t{0});
}

bool compare_calls(Comm& comm, uint64_t sequence) {
  for (int peer = 0; peer < comm.size(); ++peer)
    if (peer != comm.rank() && end_by_difference(comm, peer, sequence)) return true;
  return false;
}

bool compare_this_call(Comm& comm) { return compare_calls(comm, this_call(comm)); }

bool wait_slow(WaitContext* context, const WaitSite* site, const uint64_t* word, uint64_t want) {
  const Waiting w{*static_cast<Comm*>(context->comm), *site, word, want};
  // This rank's own word follows what another of its blocks waits for: that one tells for whom.
  const int64_t times = site->peer == w.comm.rank() ? 2 : 1;
  int looks = 0;
  uint64_t seen = 0;
  const Outcome outcome = poll(
      *context, word, want, times * context->timeout_ns,
      [&] { return peer_left(w) || calls_differ(w) || waits_for_itself(w, ++looks); }, &seen);
  if (outcome == Outcome::kTimeOut) time_out(w, times * context->timeout_ns, seen);
  return outcome == Outcome::kTrue;
}

void host_wait(Comm& comm, const WaitSite& site, const uint64_t* word, uint64_t value,
               int64_t timeout_ms) {
  const Waiting w{comm, site, word, value};
  int looks = 0;
  uint64_t seen = 0;
  const auto look_at_peers = [&] {
    if (peer_left(w)) return true;
    if (only_this_thread_could(w, ++looks))
      fail(TW_ERROR_INVALID_STATE,
           "%s: rank %d waits for slot %llu of rank %d of the same process, which no other "
           "thread can raise; valid: after that rank's tw_signal, or on a stream",
           site.op, comm.rank(), static_cast<unsigned long long>(site.index), site.peer);
    return false;
  };
  const Outcome outcome =
      poll(*comm.host_waiting(), word, value, timeout_ms * 1000000, look_at_peers, &seen);
  if (outcome == Outcome::kTrue) return;
  if (outcome == Outcome::kEnded) comm.check();
  fail(TW_ERROR_TIMEOUT, "%s: rank %d waited %lld ms for rank %d: slot %llu is %llu, expected %llu",
       site.op, comm.rank(), static_cast<long long>(timeout_ms), site.peer,
       static_cast<unsigned long long>(site.index), static_cast<unsigned long long>(seen),
       static_cast<unsigned long long>(value));
}

bool wait_idle(WaitContext* context, const WaitSite* site, uint64_t round) {
  // Ranks are threads or processes with one waiting loop each, so this is the loop's own state.
  struct Idling {
    Waited waited;
    int64_t look = 0;
    int looks = 0;
    bool last_pass = false;
  };
  static thread_local Idling idling;
  if (load(context->abort) != 0) return false;
  if (round == 0) {
    idling = {};
    idling.look = idling.waited.look() + kLookNs;
  }
  if (round % kYieldsPerClock != 0 && round < kIdleYields) {
    sched_yield();
    return true;
  }
  const int64_t now = idling.waited.look(), waited = idling.waited.ns();
  const int64_t yield = yield_ns(*context);
  if (waited < yield)
    sched_yield();
  else
    sleep_ns(waited < 10 * yield ? kFirstSleepNs : kLongestSleepNs);
  if (now < idling.look) return true;
  idling.look = now + kLookNs;
  static const uint64_t never = 0;  // no single word decides here
  const Waiting w{*static_cast<Comm*>(context->comm), *site, &never, 1};
  if (waits_for_itself(w, ++idling.looks)) return false;
  const bool left = has_left(w), late = context->timeout_ns != 0 && waited >= context->timeout_ns;
  // The caller takes once more what came before its peer left, or while this rank slept.
  const bool last_pass = std::exchange(idling.last_pass, left || late);
  if (!left && !late) return true;
  idling.look = now;
  if (!last_pass) return true;
  if (left) return !peer_left(w);
  time_out(w, context->timeout_ns, never);
  return false;
}

void end_by_failure(Comm& comm, const WaitFailure& failure) {
  const WaitSite site{failure.op, failure.peer, failure.block, failure.index};
  if (failure.status == TW_ERROR_MISMATCH)
    return wait_mismatch(comm.host_waiting(), &site, failure.got, failure.expected);
  static const uint64_t never = 0;  // the word lies in device memory
  const Waiting w{comm, site, &never, failure.expected};
  if (peer_left(w) || compare_this_call(comm)) return;
  time_out(w, comm.host_waiting()->timeout_ns, failure.got);
}

void wait_mismatch(WaitContext* context, const WaitSite* site, uint64_t got, uint64_t want) {
  Comm& comm = *static_cast<Comm*>(context->comm);
  if (is_message(*site)) {
    comm.end(TW_ERROR_MISMATCH,
             text("rank %d sent %s to rank %d, which expects %s", site->peer,
                  message_text(got).c_str(), comm.rank(), message_text(want).c_str()));
    return;
  }
  if (comm.mismatch_text()) return comm.end(TW_ERROR_MISMATCH, comm.mismatch_text()(site->peer));
  const unsigned long long call = this_call(comm);
  // Blocks, here and at the peer, may be ahead of the one that writes their rank's record.
  CallRecord record;
  for (int i = 0; i < kRecordLooks && !(record_at(comm, comm.rank(), call, record) &&
                                        record_at(comm, site->peer, call, record));
       ++i)
    sleep_ns(kFirstSleepNs);
  if (end_by_difference(comm, site->peer, call)) return;
  // Only all_to_all_v: no rank knows all counts.
  const bool known = record_at(comm, comm.rank(), call, record);
  const size_t element = known && record.type < kTypes ? kTypeBytes[record.type] : 1;
  comm.end(TW_ERROR_MISMATCH,
           text("call %llu, %s: rank %d expects %llu elements from rank %d, which sends %llu", call,
                known ? call_text(record).c_str() : site->op, comm.rank(),
                static_cast<unsigned long long>(want / element), site->peer,
                static_cast<unsigned long long>(got / element)));
}

}  // namespace tw
