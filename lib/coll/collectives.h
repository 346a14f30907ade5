// A comm's collectives: from a call to a launched kernel.
//
// One `Collectives` belongs to one rank of one comm and is used by one thread at a time. The way of
// a small call is short on purpose: what depends only on (op, type, reduction, root, count) is kept
// from the call before (`Plan`), so a repeated call checks two words and its pointers.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "lib/coll/call.h"
#include "lib/coll/choice.h"
#include "lib/coll/lane.h"
#include "lib/coll/point_to_point.h"
#include "lib/comm/comm.h"
#include "lib/device/device.h"
#include "tilewire/kernels/coll.h"
#include "tilewire/tile_device.h"

namespace tw {

class Fused;

/// How to launch what `Collectives::args()` describes.
struct Launch {
  Kernel kernel;
  int blocks;
};

/// Bytes of the arrays that an uneven call takes with it, as launch_call rounds them; 0 for others.
constexpr size_t array_bytes(CollOp call, int ranks) {
  return is_uneven(call) ? 4 * (static_cast<size_t>(ranks) * sizeof(size_t) + 64) : 0;
}
constexpr size_t transfer_bytes(size_t transfers) { return transfers * sizeof(Transfer); }

/// Launches a call on its comm's device, with the arrays of uneven forms where its kernel reaches
/// them. Within Device::issue.
void launch_call(Device& device, const Launch& launch, CollArgs args);

/// A call with everything that its kernel needs, independent of the caller's memory for arrays.
struct PreparedCall {
  Launch launch;
  CollArgs args;
  std::vector<size_t> arrays;  // what `args` points to, in uneven forms
  uint64_t number = 0;         // of the call on its comm, from 1, once it has one
};

/// Which of a comm's helper threads: of its device's share of a group, of its messages.
enum LaneUse { kShareLane, kMessageLane, kLanes };

class Collectives {
 public:
  Collectives(Comm& comm, const Forced& forced);
  ~Collectives();

  /// Fills `args()` for the call, which may still be given up. The arrays of uneven forms stay the
  /// caller's. Throws what check_call does.
  Launch prepare(const Call& call) {
    if (__builtin_expect(!plan_.is_for(call), 0)) make_plan(call);
    if (__builtin_expect(!plan_.extents.fit(call.send, call.recv), 0)) refuse(call);
    if (__builtin_expect(!on_host_, 0)) check_reach(call);
    args_.history = plan_.digest;
    args_.send = call.send;
    args_.recv = call.recv;
    if (plan_.locate) locate_buffers();
    return plan_.launch;
  }
  CollArgs& args() { return args_; }

  /// Makes prepared arguments the comm's next call: CallNumbers::take.
  uint64_t number(CollArgs* args) {
    const uint64_t number = comm_.calls().take(args->history, &args->history);
    args->digest = CallNumbers::signal_digest(args->history);
    return number;
  }

  /// As prepare, self-contained: for queued calls and groups.
  PreparedCall prepare_copy(const Call& call);

  /// Numbers a message, which must have been checked and be to another rank: from now on it is part
  /// of the sequence of messages between the two ranks.
  Transfer number(const Message& message);

  /// Throws INVALID_ARGUMENT for a checked message whose buffer the device does not reach.
  void check_reach(const Message& message) const;

  /// Carries transfers out, on GPUs within Device::issue as one launch. Throws the comm's error
  /// when one could not be.
  void run_transfers(Transfer* transfers, int n);

  /// Scaled sums of this comm. `factor`: bits of one element.
  tw_op_t create_scaled_sum(uint64_t factor, int type);
  /// Throws INVALID_ARGUMENT when `op` is not a live one.
  void destroy_op(int op);

  const ChoiceTable& table() const { return table_; }
  /// 0 = what the comm was made with, which is also the most. Returns what holds now.
  int set_max_blocks(int max_blocks);

  /// Made when first asked for.
  Lane& lane(LaneUse use);
  Fused& fused();

 private:
  /// What is known of a call before its pointers.
  struct Plan {
    Call of{};  // of.call == kNoCall: none
    Extents extents{};
    Launch launch{};
    uint64_t digest = 0;
    bool locate = false;  // the algorithm uses windows in place

    bool is_for(const Call& call) const {
      return call.count == of.count && call.call == of.call && call.type == of.type &&
             call.op == of.op && call.root == of.root;
    }
  };

  struct ScaledSum {
    uint64_t factor;
    int type;
    uint32_t generation;
    bool live;
  };

  void make_plan(const Call& call);
  void forget_plan() { plan_.of.call = kNoCall; }
  [[noreturn]] void refuse(const Call& call);
  void check_reach(const Call& call) const;
  void locate_buffers();
  const ScaledSum* find_scaled_sum(int op) const;

  Comm& comm_;
  const int most_blocks_;
  ChoiceTable table_;
  const bool on_host_;  // then kernels reach every pointer
  std::array<Kernel, kCollectives> kernels_;
  Kernel send_recv_;
  Plan plan_;
  CollArgs args_{};
  std::vector<ScaledSum> scaled_;
  MessageNumbers numbers_;
  std::unique_ptr<Lane> lanes_[kLanes];
  const Forced forced_;
  std::unique_ptr<Fused> fused_;
};

}  // namespace tw
