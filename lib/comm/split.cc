#include "lib/comm/split.h"

#include <algorithm>
#include <cstring>

#include "lib/base/error.h"
#include "lib/comm/control.h"

namespace tw {
namespace {

/// Comm::create makes this many exchanges when nothing fails.
constexpr int kSetUpExchanges = 2;

/// Exchange among some ranks of a comm, over the control calls of all: ranks of other colors take
/// part with their own messages, so that control calls stay in step whatever fails in one color.
class SplitExchange : public boot::Exchange {
 public:
  SplitExchange(Comm& parent, std::vector<int> members)
      : parent_(parent), members_(std::move(members)) {
    while (rank_ < SplitExchange::size() && members_[static_cast<size_t>(rank_)] != parent.rank())
      ++rank_;
  }

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(members_.size()); }

  std::vector<std::string> all_gather(std::string_view mine) override {
    ++calls_;
    const std::vector<std::string> all =
        parent_.control().all_gather(ControlKind::kSplit, mine.substr(0, Control::kMaxMessage));
    std::vector<std::string> ours;
    for (const int member : members_) ours.push_back(all[static_cast<size_t>(member)]);
    return ours;
  }

  /// Takes part in what the other colors still exchange.
  void finish() {
    while (calls_ < kSetUpExchanges) all_gather("");
  }

 private:
  Comm& parent_;
  const std::vector<int> members_;
  int rank_ = 0;
  int calls_ = 0;
};

struct ColorKey {
  int color;
  int key;
  int rank;
};

}  // namespace

std::unique_ptr<Comm> split(Comm& parent, int color, int key, const CommOptions& options) {
  const ColorKey mine = {color, key, parent.rank()};
  std::vector<ColorKey> group;
  for (const std::string& said : parent.control().all_gather(
           ControlKind::kSplit, {reinterpret_cast<const char*>(&mine), sizeof mine})) {
    ColorKey theirs;
    if (said.size() != sizeof theirs)
      fail(TW_ERROR_INTERNAL, "a split message of %zu bytes, not %zu", said.size(), sizeof theirs);
    std::memcpy(&theirs, said.data(), sizeof theirs);
    if (theirs.color == color) group.push_back(theirs);
  }
  std::stable_sort(group.begin(), group.end(),
                   [](const ColorKey& a, const ColorKey& b) { return a.key < b.key; });
  std::vector<int> members;
  members.reserve(group.size());
  for (const ColorKey& member : group) members.push_back(member.rank);

  SplitExchange exchange(parent, members);
  if (color < 0) {
    exchange.finish();
    return nullptr;
  }
  std::unique_ptr<Comm> child;
  try {
    child = Comm::create(exchange, options, parent.shared_device());
  } catch (...) {
    exchange.finish();
    throw;
  }
  child->set_parent(&parent, members);
  return child;
}

}  // namespace tw
