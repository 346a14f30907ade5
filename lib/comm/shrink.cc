// The survivors of a comm agree on who they are and make a comm of themselves.
//
// Protocol. All words are in rank 0's control block: its memory stays mapped in every survivor,
// whether rank 0 lives or not. Every word is written by atomic read-modify-writes and only once or
// only by setting bits, so it does not matter who is how far. Attempt k of the comm:
//   arrived    each caller sets its bit
//   members    whoever first sees that every rank has arrived or is dead (or has destroyed the
//              comm) stores the ranks that arrived and are not gone (compare-and-swap from 0):
//              all take that value
//   (set-up)   the members exchange cards through their mailboxes and build the new comm
//   finished   each member that built it sets its bit
//   committed  1 by whoever first sees all members finished, 2 by whoever first sees a member dead
//              that has not finished or a member that failed (compare-and-swap from 0)
// On 2 all survivors throw away what they built and make attempt k + 1. So a rank never returns
// with a comm that another survivor does not have, whenever ranks die.
//
// Mailboxes are used with sequence numbers far above those of control calls (control.h); their
// reuse argument is the same.
#include <time.h>

#include <bit>
#include <cstring>

#include "lib/base/deadline.h"
#include "lib/base/error.h"
#include "lib/comm/control.h"
#include "lib/comm/split.h"

namespace tw {
namespace {

constexpr uint64_t kFirstSequence = uint64_t{1} << 40;
constexpr uint64_t kSequencesPerAttempt = uint64_t{1} << 20;
constexpr uint64_t kGood = 1, kAgain = 2;

uint64_t load(const uint64_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
void set_bits(uint64_t* word, uint64_t bits) { __atomic_fetch_or(word, bits, __ATOMIC_ACQ_REL); }
/// Stores `value` if the word is 0; returns what it is then.
uint64_t decide(uint64_t* word, uint64_t value) {
  uint64_t now = 0;
  return __atomic_compare_exchange_n(word, &now, value, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
             ? value
             : now;
}

void rest() {
  const timespec duration = {0, 50'000};
  nanosleep(&duration, nullptr);
}

std::string list(uint64_t ranks) {
  std::string result;
  for (; ranks != 0; ranks &= ranks - 1) result += text(" %d", std::countr_zero(ranks));
  return result;
}

class Attempt {
 public:
  Attempt(Comm& comm, int number, const Deadline& deadline)
      : comm_(comm),
        number_(number),
        deadline_(deadline),
        words_(host_control(comm.control_block(0)).shrink[number]),
        self_(uint64_t{1} << comm.rank()) {}

  /// Returns the members, own rank included.
  uint64_t meet() {
    const uint64_t everyone = ~uint64_t{0} >> (kMaxRanks - comm_.size());
    set_bits(&words_.arrived, self_);
    for (;;) {
      if (const uint64_t members = load(&words_.members); members != 0) return checked(members);
      const uint64_t dead = comm_.gone() & ~self_;
      const uint64_t arrived = load(&words_.arrived);
      if ((arrived | dead) == everyone) return checked(decide(&words_.members, arrived & ~dead));
      if (deadline_.passed())
        fail(TW_ERROR_TIMEOUT, "tw_comm_shrink: rank%s did not call it within %lld ms",
             list(everyone & ~(arrived | dead)).c_str(),
             static_cast<long long>(deadline_.timeout_ms()));
      rest();
    }
  }

  /// True when every member has the new comm. `built`: this rank does.
  bool commit(uint64_t members, bool built) {
    if (built)
      set_bits(&words_.finished, self_);
    else
      decide(&words_.committed, kAgain);
    for (;;) {
      if (const uint64_t outcome = load(&words_.committed); outcome != 0) return outcome == kGood;
      const uint64_t finished = load(&words_.finished);
      if ((finished & members) == members)
        decide(&words_.committed, kGood);
      else if ((comm_.gone() & members & ~finished) != 0 || deadline_.passed())
        decide(&words_.committed, kAgain);
      else
        rest();
    }
  }

  /// Waits until `rank`'s mailbox has `sequence`.
  const Mailbox& mailbox(int rank, uint64_t sequence) {
    const Mailbox& box = host_control(comm_.control_block(rank)).mailboxes[sequence % 2];
    while (load(&box.sequence) < sequence) {
      if ((comm_.gone() >> rank & 1) != 0)
        fail(TW_ERROR_PEER_LOST, "rank %d died during tw_comm_shrink", rank);
      if (load(&words_.committed) != 0)
        fail(TW_ERROR_PEER_LOST, "a rank died during tw_comm_shrink");
      if (deadline_.passed())
        fail(TW_ERROR_TIMEOUT, "tw_comm_shrink: rank %d was silent for %lld ms", rank,
             static_cast<long long>(deadline_.timeout_ms()));
      rest();
    }
    return box;
  }

  Comm& comm() const { return comm_; }
  uint64_t first_sequence() const {
    return kFirstSequence + static_cast<uint64_t>(number_) * kSequencesPerAttempt;
  }

 private:
  uint64_t checked(uint64_t members) const {
    if ((members & self_) == 0)
      fail(TW_ERROR_PEER_LOST, "rank %d is taken for dead by the other survivors (%s )",
           comm_.rank(), list(members).c_str());
    return members;
  }

  Comm& comm_;
  const int number_;
  const Deadline& deadline_;
  ShrinkAttempt& words_;
  const uint64_t self_;
};

class SurvivorExchange : public boot::Exchange {
 public:
  SurvivorExchange(Attempt& attempt, uint64_t members)
      : attempt_(attempt), members_(members), sequence_(attempt.first_sequence()) {}

  int rank() const override {
    return std::popcount(members_ & ((uint64_t{1} << attempt_.comm().rank()) - 1));
  }
  int size() const override { return std::popcount(members_); }

  std::vector<std::string> all_gather(std::string_view mine) override {
    const uint64_t sequence = ++sequence_;
    Comm& comm = attempt_.comm();
    Mailbox& own = host_control(comm.control_block(comm.rank())).mailboxes[sequence % 2];
    post(own, sequence, static_cast<uint32_t>(ControlKind::kCommCreate),
         mine.substr(0, Control::kMaxMessage));
    std::vector<std::string> all;
    for (uint64_t rest = members_; rest != 0; rest &= rest - 1) {
      const Mailbox& box = attempt_.mailbox(std::countr_zero(rest), sequence);
      all.emplace_back(box.data, box.bytes);
    }
    return all;
  }

 private:
  Attempt& attempt_;
  const uint64_t members_;
  uint64_t sequence_;
};

}  // namespace

std::unique_ptr<Comm> shrink(Comm& parent, const CommOptions& options) {
  if (parent.status() == TW_OK && !parent.ended())
    fail(TW_ERROR_INVALID_STATE,
         "tw_comm_shrink of a comm that is well; valid: one that ended in an error");
  const Deadline deadline(options.setup_timeout_ms);
  for (int& number = parent.shrink_attempts; number < kShrinkAttempts;) {
    Attempt attempt(parent, number, deadline);
    const uint64_t members = attempt.meet();
    ++number;
    std::unique_ptr<Comm> comm;
    try {
      SurvivorExchange exchange(attempt, members);
      comm = Comm::create(exchange, options, parent.shared_device());
    } catch (...) {
      const Error error = current_error();
      attempt.commit(members, false);
      // Only deaths are worth another attempt; what fails here would fail again.
      if (error.status() != TW_ERROR_PEER_LOST) throw Error(error);
      continue;
    }
    if (attempt.commit(members, true)) return comm;
  }
  fail(TW_ERROR_INVALID_STATE, "this comm was shrunk %d times already", kShrinkAttempts);
}

}  // namespace tw
