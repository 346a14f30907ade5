// How the ranks of one comm meet and exchange what they need before they share memory.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/deadline.h"
#include "tilewire.h"

namespace tw::boot {

constexpr int kMaxRanks = TW_MAX_RANKS;

/// Most bytes that one rank may pass to one all_gather.
constexpr size_t kMaxMessage = size_t{16} << 20;

/// Set-up exchange among the n ranks of one comm. Every rank makes the same sequence of calls.
/// Destroying it tells the others that this rank has left; a rank that still waits for it then gets
/// PEER_LOST. Not for use by two threads at once.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// result[r] = what rank r passed (up to kMaxMessage bytes). Blocks. Throws TIMEOUT naming the
  /// missing ranks when the deadline of the exchange passes, PEER_LOST naming one that hung up.
  virtual std::vector<std::string> all_gather(std::string_view mine) = 0;
};

/// Joins over TCP as `rank` of `n` and blocks until all ranks have. `agreement`: lines "key=value"
/// that must be equal on all ranks (version, time-outs ...): a difference throws MISMATCH naming
/// key, both ranks and both values, on all ranks; so do two ranks with one number or different n.
/// A rank that does not arrive: TIMEOUT naming it, on all ranks. `deadline` holds for the whole
/// exchange.
std::unique_ptr<Exchange> join(const tw_unique_id_t& id, int n, int rank,
                               std::string_view agreement, Deadline deadline);

/// The ranks of one process (tw_comm_create_all): no sockets. One thread a rank.
class LocalGroup {
 public:
  virtual ~LocalGroup() = default;
  static std::shared_ptr<LocalGroup> create(int n);

  /// The exchange of `rank`, once per rank. It keeps the group alive.
  virtual std::unique_ptr<Exchange> join(int rank, Deadline deadline) = 0;
};

/// Makes an id and listens for its ranks in a background thread of this process, which ends after
/// its comm is set up, or when no rank came within TW_COMM_SETUP_TIMEOUT_MS.
tw_unique_id_t create_unique_id();

/// Ends that thread when no rank has come yet.
void destroy_unique_id(const tw_unique_id_t& id);

/// As text (256 hexadecimal digits), and back. from_text also takes tcp://host:port/secret, where
/// rank 0 listens. Throws INVALID_ARGUMENT saying what is wrong with the text.
std::string id_to_text(const tw_unique_id_t& id);
tw_unique_id_t id_from_text(std::string_view text);

/// What tw_run hands to a rank in TW_RANK, TW_WORLD_SIZE and TW_UNIQUE_ID.
struct Environment {
  int rank;
  int size;
  tw_unique_id_t id;
};

/// Throws INVALID_ARGUMENT naming the variable that is missing or wrong, and its value.
Environment environment();

}  // namespace tw::boot
