#include "lib/coll/group.h"

#include <algorithm>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include "lib/base/error.h"

namespace tw {
namespace {

/// The messages of one comm in a group.
struct Messages {
  Comm* comm;
  std::vector<Message> own;    // with the own rank
  std::vector<Message> peers;  // with others
  std::vector<Transfer> transfers;
};

/// What one device does in a group.
struct Share {
  std::shared_ptr<Device> device;
  std::vector<GroupItem> calls;  // in the order in which they run
  std::vector<Messages> messages;
  std::vector<tw_stream_t> streams;  // distinct

  Comm& comm() const { return calls.empty() ? *messages.front().comm : *calls.front().comm; }
};

using Shares = std::vector<std::shared_ptr<Share>>;

/// Why one thread's part of the work failed.
std::optional<Error> failure_of(const std::function<void()>& work) {
  try {
    work();
    return std::nullopt;
  } catch (...) {
    return current_error();
  }
}

struct Job {
  Lane* lane;  // null: the caller's thread
  std::function<void()> work;
};

/// Runs all jobs at once and returns when all are done. Throws the first failure.
void run_jobs(const std::vector<Job>& jobs) {
  std::vector<std::optional<Error>> failures(jobs.size());
  for (size_t i = 0; i < jobs.size(); ++i)
    if (jobs[i].lane != nullptr)
      jobs[i].lane->start([&, i] { failures[i] = failure_of(jobs[i].work); });
  for (size_t i = 0; i < jobs.size(); ++i)
    if (jobs[i].lane == nullptr) failures[i] = failure_of(jobs[i].work);
  for (const Job& job : jobs)
    if (job.lane != nullptr) job.lane->wait();
  for (const std::optional<Error>& failure : failures)
    if (failure) throw Error(*failure);
}

Share& share_of(Shares* shares, Comm& comm) {
  for (const auto& share : *shares)
    if (share->device.get() == &comm.device()) return *share;
  shares->push_back(std::make_shared<Share>());
  shares->back()->device = comm.shared_device();
  return *shares->back();
}

Messages& messages_of(Share* share, Comm* comm) {
  for (Messages& m : share->messages)
    if (m.comm == comm) return m;
  share->messages.push_back({comm, {}, {}, {}});
  return share->messages.back();
}

Shares partition(std::vector<GroupItem> items) {
  Shares shares;
  for (GroupItem& item : items) {
    Share& share = share_of(&shares, *item.comm);
    if (std::find(share.streams.begin(), share.streams.end(), item.stream) == share.streams.end())
      share.streams.push_back(item.stream);
    if (item.call) {
      share.calls.push_back(std::move(item));
      continue;
    }
    Messages& messages = messages_of(&share, item.comm);
    const bool own = item.message.peer == item.comm->rank();
    (own ? messages.own : messages.peers).push_back(item.message);
  }
  for (const auto& share : shares)
    std::stable_sort(share->calls.begin(), share->calls.end(),
                     [](const GroupItem& a, const GroupItem& b) {
                       return a.comm->unique_number() < b.comm->unique_number();
                     });
  return shares;
}

/// Everything that can fail without having reached a peer: own messages that do not match, helper
/// threads. Only then are calls and messages numbered.
void prepare(const Shares& shares) {
  for (const auto& share : shares) {
    if (share != shares.front()) share->comm().collectives().lane(kShareLane);
    const bool alone = share->calls.empty() && share->messages.size() == 1;
    for (const Messages& m : share->messages) {
      check_own_messages(m.own);
      if (!alone) m.comm->collectives().lane(kMessageLane);
    }
  }
  for (const auto& share : shares) {
    for (GroupItem& item : share->calls) item.comm->collectives().number(&item.call->args);
    for (Messages& m : share->messages)
      for (const Message& message : m.peers)
        m.transfers.push_back(m.comm->collectives().number(message));
  }
}

void run_calls(const Share& share) {
  for (const GroupItem& item : share.calls) {
    share.device->launch(item.call->launch.entry, &item.call->args, item.call->launch.blocks);
    item.comm->check();
  }
}

/// In the device's turn: the collectives one after the other, each comm's messages beside them.
void run_share(Share& share) {
  std::vector<Job> jobs;
  if (!share.calls.empty()) jobs.push_back({nullptr, [&] { run_calls(share); }});
  for (Messages& m : share.messages) {
    Lane* lane = jobs.empty() ? nullptr : &m.comm->collectives().lane(kMessageLane);
    jobs.push_back({lane, [&m] {
                      copy_own_messages(m.own);
                      m.comm->collectives().run_transfers(m.transfers.data(),
                                                          static_cast<int>(m.transfers.size()));
                    }});
  }
  run_jobs(jobs);
}

void issue_share(const std::shared_ptr<Share>& share, tw_stream_t stream) {
  share->device->issue(
      stream,
      [share] {
        run_share(*share);
        return TW_OK;
      },
      &share->comm());
}

/// Returns when what `stream` holds now is done.
void drain(Device& device, tw_stream_t stream) {
  const auto reached = std::make_shared<std::promise<void>>();
  device.issue(stream, [reached] {
    reached->set_value();
    return TW_OK;
  });
  reached->get_future().wait();
}

bool can_be_queued(const Share& share, const Shares& all) {
  const tw_stream_t stream = share.streams.front();
  if (share.streams.size() != 1 || stream == nullptr) return false;
  return std::all_of(all.begin(), all.end(), [&](const auto& other) {
    return other.get() == &share ||
           std::find(other->streams.begin(), other->streams.end(), stream) == other->streams.end();
  });
}

}  // namespace

void run_group(std::vector<GroupItem> items) {
  const Shares shares = partition(std::move(items));
  prepare(shares);
  std::vector<Job> jobs;
  for (const auto& share : shares) {
    if (can_be_queued(*share, shares)) {
      issue_share(share, share->streams.front());
      continue;
    }
    Lane* lane = jobs.empty() ? nullptr : &share->comm().collectives().lane(kShareLane);
    jobs.push_back({lane, [&share] { issue_share(share, nullptr); }});
    for (tw_stream_t stream : share->streams)
      if (stream != nullptr) drain(*share->device, stream);
  }
  run_jobs(jobs);
}

}  // namespace tw
