// The control plane: what ranks say to each other when they make windows, split or shrink. Rare and
// small, so it goes through mailboxes in the ranks' control blocks.
//
// Protocol. Call number s of this comm uses mailbox s % 2 of every rank.
//   write   the owner fills its own mailbox, then stores `sequence` = s (release, system scope)
//   wait    everyone waits until every rank's `sequence` is >= s (acquire), then reads the mailbox
//   reuse   the owner writes a mailbox again at call s + 2. It has then seen sequence s + 1 of
//           every rank, which each of them stored after it had read everything of call s
//
// Order. Control calls are made in the order of the calls of the comm that make them, whichever
// thread that is in: queued work that will make some is `expected` from when it is queued until it
// has made them, and the caller's thread waits for it before a control call of its own. Queued work
// waits for nothing: what the caller's thread made before it was queued is over.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "lib/comm/call_text.h"
#include "tilewire.h"
#include "tilewire/tile/comm_view.h"

namespace tw {

class Comm;

/// What a control call is for; a rank in another one is a mismatch.
enum class ControlKind : uint32_t {
  kCommCreate,
  kWindowCreate,
  kWindowRegister,
  kWindowShare,
  kWindowDestroy,
  kSignalsCreate,
  kSignalsDestroy,
  kSplit,
  kWorkspaceGrow,
  kTilesCreate,
  kTilesDestroy,
  kModelPrepare,
  kModelTrace,
  kProgramBuild,
  kProgramTrace,
};

struct Mailbox {
  uint64_t sequence;
  uint32_t kind;
  uint32_t bytes;
  char data[2032];
};

inline constexpr int kShrinkAttempts = 32;

/// One attempt to shrink; all words in rank 0's control block, which outlives rank 0 in every
/// mapping. See shrink.cc.
struct ShrinkAttempt {
  uint64_t arrived;    // ranks that called
  uint64_t members;    // what the survivors agreed on; 0 = not yet
  uint64_t finished;   // members that built the new comm
  uint64_t committed;  // 0 = not yet, 1 = the new comm is good, 2 = a member died: try again
};

/// Lives in RankControl::host.
struct HostControl {
  alignas(128) uint64_t left;  // 1: this rank destroyed the comm
  char failure[1016];          // why this rank ended the comm; written before the abort words
  ShrinkAttempt shrink[kShrinkAttempts];
  Mailbox mailboxes[2];
  FusedNote notes[kCallRecords];  // notes[seq % kCallRecords]
};
static_assert(sizeof(HostControl) <= sizeof(RankControl::host));

/// Fills this rank's mailbox of call `sequence`. At most sizeof(Mailbox::data) bytes.
void post(Mailbox& own, uint64_t sequence, uint32_t kind, std::string_view mine);

inline HostControl& host_control(RankControl& control) {
  return *reinterpret_cast<HostControl*>(control.host);
}

class Control {
 public:
  explicit Control(Comm& comm) : comm_(comm) {}

  static constexpr size_t kMaxMessage = sizeof(Mailbox::data);

  /// result[r] = what rank r passed. Collective; ends with the comm's error when it has one.
  std::vector<std::string> all_gather(ControlKind kind, std::string_view mine);

  /// All ranks say whether their part went well ("" = yes); throws the first failure everywhere.
  /// `status`: this rank's, when it failed.
  void agree(ControlKind kind, tw_status_t status, const std::string& failure);
  /// The same of `part`, which is this rank's and may throw.
  void agree(ControlKind kind, const std::function<void()>& part);

  /// Queued work will make control calls, in one ExpectedTurn. (When it never comes to them, the
  /// comm has ended.)
  void expect() { expected_.fetch_add(1, std::memory_order_relaxed); }

  /// The scope in which a thread makes control calls that were expected.
  class ExpectedTurn {
   public:
    explicit ExpectedTurn(Control& control) : control_(control) {
      control_.turn_ = std::this_thread::get_id();
    }
    ExpectedTurn(const ExpectedTurn&) = delete;
    ExpectedTurn& operator=(const ExpectedTurn&) = delete;
    ~ExpectedTurn() {
      control_.turn_ = std::thread::id();
      control_.expected_.fetch_sub(1, std::memory_order_release);
    }

   private:
    Control& control_;
  };

 private:
  void wait_for_turn() const;

  Comm& comm_;
  uint64_t sequence_ = 0;
  std::atomic<int> expected_{0};
  std::atomic<std::thread::id> turn_{};  // the thread in an ExpectedTurn
};

}  // namespace tw
