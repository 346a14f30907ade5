// The exchange among threads of one process.
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>

#include "lib/base/error.h"
#include "lib/boot/exchange.h"
#include "lib/boot/meeting.h"

namespace tw::boot {
namespace {

class Group : public LocalGroup, public std::enable_shared_from_this<Group> {
 public:
  explicit Group(int n) : slots_(static_cast<size_t>(n)), left_(static_cast<size_t>(n)) {}
  std::unique_ptr<Exchange> join(int rank, Deadline deadline) override;

  int size() const { return static_cast<int>(slots_.size()); }
  std::vector<std::string> all_gather(int rank, std::string_view mine, const Deadline& deadline);
  void leave(int rank);

 private:
  using Result = std::shared_ptr<const std::vector<std::string>>;

  void complete();
  void fail_all(tw_status_t status, std::string sentence);
  std::vector<int> missing() const;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::optional<std::string>> slots_;
  std::vector<bool> left_;
  uint64_t round_ = 0;
  Result result_;                 // of round_ - 1
  std::optional<Error> failure_;  // ends every call
};

class LocalExchange : public Exchange {
 public:
  LocalExchange(std::shared_ptr<Group> group, int rank, Deadline deadline)
      : group_(std::move(group)), rank_(rank), deadline_(deadline) {}
  ~LocalExchange() override { group_->leave(rank_); }
  int rank() const override { return rank_; }
  int size() const override { return group_->size(); }
  std::vector<std::string> all_gather(std::string_view mine) override {
    return group_->all_gather(rank_, mine, deadline_);
  }

 private:
  const std::shared_ptr<Group> group_;
  const int rank_;
  const Deadline deadline_;
};

std::unique_ptr<Exchange> Group::join(int rank, Deadline deadline) {
  return std::make_unique<LocalExchange>(shared_from_this(), rank, deadline);
}

std::vector<int> Group::missing() const {
  std::vector<int> result;
  for (size_t i = 0; i < slots_.size(); ++i)
    if (!slots_[i]) result.push_back(static_cast<int>(i));
  return result;
}

void Group::fail_all(tw_status_t status, std::string sentence) {
  if (failure_) return;
  failure_.emplace(status, std::move(sentence));
  changed_.notify_all();
}

void Group::complete() {
  auto all = std::make_shared<std::vector<std::string>>();
  for (auto& slot : slots_) {
    all->push_back(std::move(*slot));
    slot.reset();
  }
  result_ = std::move(all);
  ++round_;
  changed_.notify_all();
}

std::vector<std::string> Group::all_gather(int rank, std::string_view mine,
                                           const Deadline& deadline) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (failure_) throw *failure_;
  for (int other = 0; other < size(); ++other)
    if (left_[static_cast<size_t>(other)])
      fail_all(TW_ERROR_PEER_LOST, text("rank %d of %d left the set-up while rank %d waits for it",
                                        other, size(), rank));
  if (failure_) throw *failure_;
  slots_[static_cast<size_t>(rank)] = mine;
  const uint64_t round = round_;
  if (missing().empty()) complete();
  // A rank comes back for the next round only after this one, so result_ stays until all have it.
  while (round_ == round && !failure_) {
    changed_.wait_for(lock, std::chrono::milliseconds(deadline.remaining_ms(1000)));
    if (round_ == round && deadline.passed())
      fail_all(TW_ERROR_TIMEOUT, text("%s of %d did not come to a step of the set-up: rank %d "
                                      "waited %lld ms",
                                      name_ranks(missing()).c_str(), size(), rank,
                                      static_cast<long long>(deadline.timeout_ms())));
  }
  if (round_ == round) throw *failure_;
  const Result result = result_;
  lock.unlock();
  return *result;
}

void Group::leave(int rank) {
  const std::lock_guard<std::mutex> lock(mutex_);
  left_[static_cast<size_t>(rank)] = true;
  // Whoever waits now has passed something of its own and waits for this rank too.
  if (missing().size() < slots_.size())
    fail_all(TW_ERROR_PEER_LOST, text("rank %d of %d gave up the set-up", rank, size()));
}

}  // namespace

std::shared_ptr<LocalGroup> LocalGroup::create(int n) {
  if (n < 1 || n > kMaxRanks)
    fail(TW_ERROR_INVALID_ARGUMENT, "%d ranks are not within 1 to %d", n, kMaxRanks);
  return std::make_shared<Group>(n);
}

}  // namespace tw::boot
