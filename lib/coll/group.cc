#include "lib/coll/group.h"

#include <algorithm>
#include <exception>
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

/// One thread's part of the work.
struct Job {
  Lane* lane;  // null: the caller's thread
  std::function<void()> work;
  std::exception_ptr failure{};

  void run() noexcept {
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
  }
};

/// Runs all jobs at once and returns when all are done. Throws the first failure.
void run_jobs(std::vector<Job> jobs) {
  for (Job& job : jobs)
    if (job.lane != nullptr) job.lane->start([&job] { job.run(); });
  for (Job& job : jobs)
    if (job.lane == nullptr) job.run();
  for (const Job& job : jobs)
    if (job.lane != nullptr) job.lane->wait();
  for (const Job& job : jobs)
    if (job.failure != nullptr) std::rethrow_exception(job.failure);
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

/// What a GPU does in a group is queued on one stream, in this thread's order, which other ranks
/// need not share: what could wait for each other in a circle is refused.
void check_queueable(const Share& share) {
  const char* const valid =
      "valid on GPUs: collectives only, or messages of one comm only, on one "
      "stream a rank";
  if (share.streams.size() != 1)
    fail(TW_ERROR_UNSUPPORTED, "a group has calls of GPU %d on %zu streams; %s",
         share.device->ordinal(), share.streams.size(), valid);
  if ((!share.calls.empty() && !share.messages.empty()) || share.messages.size() > 1)
    fail(TW_ERROR_UNSUPPORTED, "a group has %s of GPU %d; %s",
         share.calls.empty() ? "messages of several comms" : "collectives beside messages",
         share.device->ordinal(), valid);
  for (const GroupItem& item : share.calls)
    if (is_uneven(item.call->args.call))
      share.device->check_stage(share.streams[0],
                                array_bytes(item.call->args.call, item.comm->size()));
  for (const Messages& m : share.messages)
    share.device->check_stage(share.streams[0], transfer_bytes(m.peers.size()));
}

/// Everything that can fail without having reached a peer: own messages that do not match, helper
/// threads.
void prepare(const Shares& shares) {
  for (const auto& share : shares) {
    if (!share->device->is_host()) {
      check_queueable(*share);
      for (Messages& m : share->messages) check_own_messages(m.own);
      continue;
    }
    if (share != shares.front()) share->comm().collectives().lane(kShareLane);
    const bool alone = share->calls.empty() && share->messages.size() == 1;
    for (Messages& m : share->messages) {
      check_own_messages(m.own);
      if (!alone) m.comm->collectives().lane(kMessageLane);
      m.transfers.reserve(m.peers.size());
    }
  }
}

/// From here on the group's calls cannot be given up.
void number(const Shares& shares) {
  for (const auto& share : shares) {
    for (GroupItem& item : share->calls)
      item.call->number = item.comm->collectives().number(&item.call->args);
    for (Messages& m : share->messages)
      for (const Message& message : m.peers)
        m.transfers.push_back(m.comm->collectives().number(message));
  }
}

/// A comm that has ended leaves out its own calls; those of others are made.
void run_calls(const Share& share) {
  for (const GroupItem& item : share.calls)
    if (!item.comm->ended()) launch_call(*share.device, item.call->launch, item.call->args);
  for (const GroupItem& item : share.calls) item.comm->check_call(item.call->number);
}

void end_all(const Share& share, const Error& error) {
  for (const GroupItem& item : share.calls) item.comm->end(error.status(), error.what());
  for (const Messages& m : share.messages) m.comm->end(error.status(), error.what());
}

/// Makes what runs calls that have been numbered. They cannot be given up any more, so that what
/// prevents it ends their comms.
template <class Make>
std::vector<Job> jobs_for(const Shares& shares, Make make) {
  try {
    return make();
  } catch (...) {
    const Error error = current_error();
    for (const auto& share : shares) end_all(*share, error);
    throw Error(error);
  }
}

/// The collectives one after the other, each comm's messages beside them.
std::vector<Job> jobs_of(Share& share) {
  std::vector<Job> jobs;
  if (!share.calls.empty()) jobs.push_back({nullptr, [&] { run_calls(share); }});
  for (Messages& m : share.messages) {
    Lane* lane = jobs.empty() ? nullptr : &m.comm->collectives().lane(kMessageLane);
    jobs.push_back({lane, [&m] {
                      copy_own_messages(m.comm->device(), m.own);
                      m.comm->collectives().run_transfers(m.transfers.data(),
                                                          static_cast<int>(m.transfers.size()));
                    }});
  }
  return jobs;
}

/// Queues the share. Whatever fails in it ends the comm concerned, whose next call says so: the
/// error has no owner beside the stream.
void issue_share(const std::shared_ptr<Share>& share, tw_stream_t stream) {
  share->device->issue(stream, [share] {
    run_jobs(jobs_for({share}, [&] { return jobs_of(*share); }));
    return TW_OK;
  });
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
  if (!share.device->is_host()) return true;
  const tw_stream_t stream = share.streams.front();
  if (share.streams.size() != 1 || stream == nullptr) return false;
  return std::all_of(all.begin(), all.end(), [&](const auto& other) {
    return other.get() == &share ||
           std::find(other->streams.begin(), other->streams.end(), stream) == other->streams.end();
  });
}

/// Runs the share now, after what its streams hold.
void run_now(Share& share) {
  bool running = false;
  try {
    for (tw_stream_t stream : share.streams)
      if (stream != nullptr) drain(*share.device, stream);
    share.device->issue(
        nullptr,
        [&] {
          std::vector<Job> jobs = jobs_of(share);
          running = true;
          run_jobs(std::move(jobs));
          return TW_OK;
        },
        &share.comm());
  } catch (...) {
    if (!running) end_all(share, current_error());
    throw;
  }
}

/// Queues the shares that can be; returns jobs for the others.
std::vector<Job> issue_shares(const Shares& shares) {
  std::vector<Job> jobs;
  for (const auto& share : shares) {
    if (can_be_queued(*share, shares)) {
      issue_share(share, share->streams.front());
      continue;
    }
    Lane* lane = jobs.empty() ? nullptr : &share->comm().collectives().lane(kShareLane);
    // Another share may be what a stream's work waits for: each waits for its own.
    jobs.push_back({lane, [&share] { run_now(*share); }});
  }
  return jobs;
}

}  // namespace

void run_group(std::vector<GroupItem> items) {
  const Shares shares = partition(std::move(items));
  prepare(shares);
  number(shares);
  run_jobs(jobs_for(shares, [&] { return issue_shares(shares); }));
}

}  // namespace tw
