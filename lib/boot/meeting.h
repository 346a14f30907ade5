// What the root of a set-up knows and decides: who is here, whether they agree, what they gather.
// No I/O: connections are numbers, answers are appended to a list.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/boot/wire.h"

namespace tw::boot {

class Meeting {
 public:
  struct Answer {
    int connection;
    Kind kind;
    std::shared_ptr<const std::string> payload;
  };
  using Answers = std::vector<Answer>;

  /// A frame from `connection`, whose holder has proven to know the secret. False: it broke the
  /// protocol and must be dropped (and reported by lost()).
  bool take(int connection, Frame&& frame, Answers* answers);

  /// Ends a meeting that is not complete.
  void call_off(Answers* answers);

  /// `connection` hung up.
  void lost(int connection, Answers* answers);

  bool is_rank(int connection) const { return rank_of_.count(connection) != 0; }
  bool anybody() const { return n_ > 0; }
  /// All ranks are here: joins from now on are refused one by one.
  bool complete() const { return arrived_ == n_ && n_ > 0; }
  bool failed() const { return failure_ != nullptr; }
  /// Failed, and each of the n ranks was told.
  bool all_told() const { return failed() && n_ > 0 && told_ == n_; }

 private:
  struct Rank {
    int connection = -1;
    bool arrived = false;
    bool left = false;
    bool told = false;
    std::string agreement;
    std::optional<std::string> message;  // of the all_gather that is under way
  };

  std::string objection(const Join& join) const;
  bool join(int connection, const Join& join, Answers* answers);
  void admit(int connection, const Join& join, Answers* answers);
  bool gather(int rank, std::string&& message, Answers* answers);
  void leave(int rank, Answers* answers);
  std::string missing() const;
  void overdue(int rank, uint64_t waited_ms, Answers* answers);
  void refuse(int connection, std::string sentence, Answers* answers);
  void fail_all(tw_status_t status, const std::string& sentence, Answers* answers);
  void tell(int rank, int connection, Answers* answers);
  std::string difference(int rank, const std::string& agreement) const;
  void send_all(Kind kind, const std::shared_ptr<const std::string>& payload, Answers* answers);

  int n_ = 0;  // from the first to join
  int first_ = -1;
  int arrived_ = 0;
  int told_ = 0;
  int gathered_ = 0;
  int host_ = -1;
  std::vector<Rank> ranks_;
  std::map<int, int> rank_of_;  // connection -> rank
  std::shared_ptr<const std::string> failure_;
};

/// "rank 3", "ranks 1, 2 and 5".
std::string name_ranks(const std::vector<int>& ranks);

}  // namespace tw::boot
