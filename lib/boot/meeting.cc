#include "lib/boot/meeting.h"

#include <utility>

#include "lib/base/error.h"

namespace tw::boot {
namespace {

// Lines "key=value", in order.
std::vector<std::pair<std::string, std::string>> parse_agreement(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> result;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t equals = std::min(line.find('='), line.size());
    if (!line.empty())
      result.emplace_back(line.substr(0, equals), line.substr(std::min(line.size(), equals + 1)));
  }
  return result;
}

const std::string* find(const std::vector<std::pair<std::string, std::string>>& lines,
                        const std::string& key) {
  for (const auto& line : lines)
    if (line.first == key) return &line.second;
  return nullptr;
}

std::shared_ptr<const std::string> shared(std::string text) {
  return std::make_shared<const std::string>(std::move(text));
}

}  // namespace

std::string name_ranks(const std::vector<int>& ranks) {
  std::string result = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (i > 0) result += i + 1 == ranks.size() ? " and " : ", ";
    result += std::to_string(ranks[i]);
  }
  return result;
}

bool Meeting::take(int connection, Frame&& frame, Answers* answers) {
  if (frame.kind == Kind::kJoin) {
    Join parsed;
    return decode(frame.payload, &parsed) && join(connection, parsed, answers);
  }
  const auto found = rank_of_.find(connection);
  if (found == rank_of_.end()) return false;
  const int rank = found->second;
  uint64_t waited = 0;
  switch (frame.kind) {
    case Kind::kGather:
      return gather(rank, std::move(frame.payload), answers);
    case Kind::kOverdue:
      if (!decode_number(frame.payload, &waited)) return false;
      overdue(rank, waited, answers);
      return true;
    case Kind::kBye:
      leave(rank, answers);
      return true;
    default:
      return false;
  }
}

void Meeting::lost(int connection, Answers* answers) {
  const auto found = rank_of_.find(connection);
  if (found == rank_of_.end()) return;
  const int rank = found->second;
  rank_of_.erase(found);
  Rank& it = ranks_[static_cast<size_t>(rank)];
  if (it.left) return;
  it.left = true;
  it.connection = -1;
  fail_all(TW_ERROR_PEER_LOST,
           text("rank %d of %d hung up during set-up (its process ended?)", rank, n_), answers);
}

// Why `join` cannot be, or "".
std::string Meeting::objection(const Join& join) const {
  const int rank = static_cast<int>(join.rank), n = static_cast<int>(join.n);
  if (n != n_)
    return text("rank %d says that there are %d ranks, rank %d says %d", rank, n, first_, n_);
  if (ranks_[join.rank].arrived) return text("two ranks claim to be rank %d of %d", rank, n_);
  if (join.version != kVersion)
    return text("rank %d speaks version %u of the set-up protocol, the root version %u", rank,
                join.version, kVersion);
  return rank == first_ ? std::string() : difference(rank, join.agreement);
}

bool Meeting::join(int connection, const Join& join, Answers* answers) {
  if (is_rank(connection)) return false;
  const int rank = static_cast<int>(join.rank);
  if (failed()) {
    tell(rank, connection, answers);
    return true;
  }
  if (n_ == 0) {
    n_ = static_cast<int>(join.n);
    first_ = rank;
    ranks_.resize(join.n);
  }
  if (std::string sentence = objection(join); !sentence.empty()) {
    if (complete()) {
      refuse(connection, std::move(sentence), answers);
    } else {
      fail_all(TW_ERROR_MISMATCH, sentence, answers);
      tell(rank, connection, answers);
    }
    return true;
  }
  admit(connection, join, answers);
  return true;
}

void Meeting::admit(int connection, const Join& join, Answers* answers) {
  Rank& it = ranks_[join.rank];
  it.connection = connection;
  it.arrived = true;
  it.agreement = join.agreement;
  rank_of_[connection] = static_cast<int>(join.rank);
  ++arrived_;
  answers->push_back({connection, Kind::kWelcome, shared({})});
  if (join.hosts && host_ < 0) {
    host_ = static_cast<int>(join.rank);
    send_all(Kind::kHost, shared(encode_number(join.rank)), answers);
  } else if (host_ >= 0) {
    answers->push_back(
        {connection, Kind::kHost, shared(encode_number(static_cast<uint64_t>(host_)))});
  }
  if (complete()) send_all(Kind::kReady, shared({}), answers);
}

bool Meeting::gather(int rank, std::string&& message, Answers* answers) {
  Rank& it = ranks_[static_cast<size_t>(rank)];
  if (failed()) return true;  // it will read the failure
  if (!complete() || it.left || it.message || message.size() > kMaxMessage) return false;
  it.message = std::move(message);
  ++gathered_;
  for (int other = 0; other < n_; ++other)
    if (ranks_[static_cast<size_t>(other)].left) {
      fail_all(TW_ERROR_PEER_LOST,
               text("rank %d of %d left the set-up while rank %d waits for it", other, n_, rank),
               answers);
      return true;
    }
  if (gathered_ < n_) return true;
  std::vector<std::string> all;
  for (Rank& each : ranks_) {
    all.push_back(std::move(*each.message));
    each.message.reset();
  }
  gathered_ = 0;
  send_all(Kind::kResult, shared(encode_result(all)), answers);
  return true;
}

void Meeting::leave(int rank, Answers* answers) {
  Rank& it = ranks_[static_cast<size_t>(rank)];
  it.left = true;
  if (!failed() && (!complete() || gathered_ > 0))
    fail_all(TW_ERROR_PEER_LOST, text("rank %d of %d gave up the set-up", rank, n_), answers);
}

/// The ranks that others wait for, in words.
std::string Meeting::missing() const {
  std::vector<int> missing;
  for (int other = 0; other < n_; ++other) {
    const Rank& it = ranks_[static_cast<size_t>(other)];
    if (complete() ? !it.message : !it.arrived) missing.push_back(other);
  }
  return missing.empty() ? "nobody" : name_ranks(missing);
}

void Meeting::call_off(Answers* answers) {
  if (complete()) return;
  fail_all(TW_ERROR_ABORTED,
           text("the unique id was destroyed before %s of %d arrived", missing().c_str(), n_),
           answers);
}

void Meeting::overdue(int rank, uint64_t waited_ms, Answers* answers) {
  if (failed()) return;
  const std::string who = missing();
  const auto ms = static_cast<unsigned long long>(waited_ms);
  fail_all(TW_ERROR_TIMEOUT,
           complete()
               ? text("%s of %d did not come to a step of the set-up: rank %d waited %llu ms",
                      who.c_str(), n_, rank, ms)
               : text("%s of %d did not arrive: rank %d waited %llu ms", who.c_str(), n_, rank, ms),
           answers);
}

void Meeting::refuse(int connection, std::string sentence, Answers* answers) {
  answers->push_back(
      {connection, Kind::kError, shared(encode(Failure{TW_ERROR_MISMATCH, std::move(sentence)}))});
}

void Meeting::fail_all(tw_status_t status, const std::string& sentence, Answers* answers) {
  if (failed()) return;
  failure_ = shared(encode(Failure{status, sentence}));
  for (int rank = 0; rank < n_; ++rank) {
    Rank& it = ranks_[static_cast<size_t>(rank)];
    if (it.left) {
      it.told = true;
      ++told_;
    } else if (it.connection >= 0) {
      tell(rank, it.connection, answers);
    }
  }
}

// `rank` may be beyond n when it is the disagreement.
void Meeting::tell(int rank, int connection, Answers* answers) {
  answers->push_back({connection, Kind::kError, failure_});
  if (rank >= n_ || ranks_[static_cast<size_t>(rank)].told) return;
  ranks_[static_cast<size_t>(rank)].told = true;
  ++told_;
}

std::string Meeting::difference(int rank, const std::string& agreement) const {
  const auto theirs = parse_agreement(agreement);
  const auto ours = parse_agreement(ranks_[static_cast<size_t>(first_)].agreement);
  const auto differ = [&](const std::string& key) {
    const std::string* a = find(ours, key);
    const std::string* b = find(theirs, key);
    if (a != nullptr && b != nullptr && *a == *b) return std::string();
    return text("%s must be equal on all ranks: it is \"%s\" on rank %d and \"%s\" on rank %d",
                key.c_str(), a == nullptr ? "(missing)" : a->c_str(), first_,
                b == nullptr ? "(missing)" : b->c_str(), rank);
  };
  for (const auto& line : ours)
    if (std::string sentence = differ(line.first); !sentence.empty()) return sentence;
  for (const auto& line : theirs)
    if (std::string sentence = differ(line.first); !sentence.empty()) return sentence;
  return {};
}

void Meeting::send_all(Kind kind, const std::shared_ptr<const std::string>& payload,
                       Answers* answers) {
  for (const Rank& rank : ranks_)
    if (rank.connection >= 0 && !rank.left) answers->push_back({rank.connection, kind, payload});
}

}  // namespace tw::boot
