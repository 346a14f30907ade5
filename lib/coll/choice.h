// Which algorithm carries out a collective: a table measured per machine, never guessed from one
// rank's pointers. Equal arguments give equal choices on all ranks.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "lib/coll/fused_choice.h"
#include "lib/device/device.h"
#include "tilewire/kernels/coll.h"

namespace tw {

/// What a call is carried out with. `chunk` is the bytes of a pipeline step.
struct Choice {
  CollAlgo algo;
  StorePolicy store;
  size_t chunk;
  int blocks;
};

/// A line of the table: the choice for messages of up to `up_to` bytes, where the lines of the same
/// (machine, op, ranks) with a smaller `up_to` do not apply.
struct ChoiceLine {
  CollOp op;
  RanksClass ranks;
  size_t up_to;
  CollAlgo algo;
  StorePolicy store;
  size_t chunk;
};

/// One micro-architecture: its lines and where they come from.
struct Machine {
  const char* name;
  const char* vendor;  // as CPUID spells it; "" matches every CPU
  int family;
  int first_model, last_model;
  const char* origin;  // "not tuned", or when and where the lines were measured
  std::vector<ChoiceLine> lines;
  std::vector<FusedLine> fused;
};

/// All machines (lib/coll/tuning.def); the last matches every CPU.
const std::vector<Machine>& machines();

/// The machine of a CPU, and of this one.
const Machine& machine_of(const std::string& vendor, int family, int model);
const Machine& this_machine();

/// The machine of a device: this CPU, or the GPUs' own lines.
const Machine& machine_of(const Device& device);

/// "GenuineIntel family 6 model 207".
std::string cpu_description();

/// Names as TW_COLL_ALGO, TW_COLL_STORE and the tuning files spell them.
const char* name_of(CollAlgo algo);
const char* name_of(StorePolicy store);
const char* name_of(RanksClass ranks);
const char* name_of(CollOp op);

/// What TW_COLL_ALGO, TW_COLL_CHUNK, TW_COLL_STORE and TW_COLL_BLOCKS force, and TW_FUSED*.
struct Forced {
  bool algo_set = false, store_set = false;
  CollAlgo algo = CollAlgo::kPacket;
  StorePolicy store = StorePolicy::kPlain;
  size_t chunk = 0;  // 0 = the table's
  int blocks = 0;    // 0 = by size
  FusedForced fused;

  /// Throws INVALID_ARGUMENT naming variable, value and the valid ones.
  static Forced from_environment();

  /// "key=value" lines, which must be equal on all ranks.
  std::string agreement() const;
};

/// The table of one comm: picks by op and size. Trivially cheap after construction.
class ChoiceTable {
 public:
  /// `layout`: of the comm's memory, which limits what an algorithm can carry. `max_blocks`: blocks
  /// that a launch may have on every rank. `framing`: of the device's kernels.
  ChoiceTable(const Machine& machine, RanksClass ranks, const Forced& forced,
              const CommLayout& layout, const Framing& framing, int max_blocks);

  /// `bytes`: what one rank sends to one peer (the largest over peers, for uneven forms).
  Choice choose(CollOp op, size_t bytes) const;

  /// The most that one rank can send to one peer, by any algorithm.
  size_t most_bytes(CollOp op) const {
    return message_limit(layout_, framing_, CollAlgo::kDirect, op);
  }

  void set_max_blocks(int max_blocks) { max_blocks_ = max_blocks; }

 private:
  struct Segment {
    size_t up_to;
    CollAlgo algo;
    StorePolicy store;
    size_t chunk;
  };
  CollAlgo possible(CollAlgo wanted, CollOp op, size_t bytes) const;

  Forced forced_;
  CommLayout layout_;
  Framing framing_;
  int max_blocks_;
  std::vector<Segment> segments_[kCollectives];
};

}  // namespace tw
