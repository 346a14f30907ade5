#include "lib/comm/records.h"

#include <time.h>

#include <cstring>
#include <iterator>
#include <string>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/types.h"
#include "lib/comm/call_text.h"
#include "lib/comm/comm.h"
#include "lib/comm/control.h"
#include "lib/device/device.h"
#include "tilewire/kernels/coll.h"

namespace tw {
namespace {

constexpr int kRecordLooks = 20'000;  // naps: 1 s and more

void nap() {
  const timespec duration = {0, 20'000};
  nanosleep(&duration, nullptr);
}

uint64_t load(const uint64_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

/// One word of a record.
template <class T>
void store(T* word, T value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

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
  // A fused call that was given up may have left its note; one by its parts has their records.
  const auto noted = [](const CallRecord& record) {
    return !is_program(static_cast<CollOp>(record.call));
  };
  const bool own_fused = noted(mine) && note_at(comm, comm.rank(), mine.seq, own);
  const bool other_fused = noted(theirs) && note_at(comm, peer, mine.seq, other);
  if (own_fused && other_fused) return {fused_text(own, other), fused_text(other, own)};
  return {own_fused ? fused_text(own, own) : call_text(mine),
          other_fused ? fused_text(other, other) : call_text(theirs)};
}

/// The same program of the comm, launched by both.
bool same_program(const CallRecord& mine, const CallRecord& theirs) {
  return is_program(static_cast<CollOp>(mine.call)) && mine.call == theirs.call &&
         mine.part[1] == theirs.part[1];
}

/// Whether the running launch knows better than records how it differs from the peer's.
bool end_by_words(Comm& comm, int peer) {
  const LaunchWords* const words = comm.launch_words();
  if (words == nullptr || !words->mismatch) return false;
  const std::string difference = words->mismatch(peer);
  if (!difference.empty()) comm.end(TW_ERROR_MISMATCH, difference);
  return !difference.empty();
}

/// Ends the comm by the first call up to `sequence` in which this rank and `peer` differ. Digests
/// are chained (each holds all calls before), so that a call in which nobody heard of the peer is
/// found out in the next one; the first digest that differs is the culprit's. False when none does.
bool end_by_difference(Comm& comm, int peer, uint64_t sequence, bool in_launch) {
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
    if (in_launch && s == this_call(comm) && same_program(mine, theirs) && end_by_words(comm, peer))
      return true;
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

}  // namespace

bool is_message(const WaitSite& site) { return std::strcmp(site.op, "send_recv") == 0; }
uint64_t this_call(const Comm& comm) { return comm.epoch() + 1; }

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

bool compare_calls(Comm& comm, uint64_t sequence, bool in_launch) {
  for (int peer = 0; peer < comm.size(); ++peer)
    if (peer != comm.rank() && end_by_difference(comm, peer, sequence, in_launch)) return true;
  return false;
}
bool compare_this_call(Comm& comm, bool in_launch) {
  return compare_calls(comm, this_call(comm), in_launch);
}
bool compare_last_calls(Comm& comm) {
  return compare_calls(comm, this_call(comm) - 1, /*in_launch=*/false);
}

void wait_mismatch(WaitContext* context, const WaitSite* site, uint64_t got, uint64_t want) {
  Comm& comm = *static_cast<Comm*>(context->comm);
  if (is_message(*site)) {
    comm.end(TW_ERROR_MISMATCH,
             text("rank %d sent %s to rank %d, which expects %s", site->peer,
                  message_text(got).c_str(), comm.rank(), message_text(want).c_str()));
    return;
  }
  const unsigned long long call = this_call(comm);
  // Blocks, here and at the peer, may be ahead of the one that writes their rank's record.
  CallRecord record;
  for (int i = 0; i < kRecordLooks && !(record_at(comm, comm.rank(), call, record) &&
                                        record_at(comm, site->peer, call, record));
       ++i)
    nap();
  if (end_by_difference(comm, site->peer, call, true)) return;
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
