#include "lib/boot/root.h"

#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <list>
#include <mutex>
#include <thread>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/socket.h"
#include "lib/base/thread.h"
#include "lib/boot/listen.h"
#include "lib/boot/meeting.h"

namespace tw::boot {
namespace {

constexpr int kStrangers = 64;        // connections that have proven nothing yet; the oldest goes
constexpr int kStrangersShare = 8;    // of the descriptor limit: more than 1/8 is not theirs
constexpr int kHandshakeMs = 3000;    // for such a connection to prove itself
constexpr int kClosingMs = 2000;      // for a dropped rank to read why
constexpr int kLingerMs = 10000;      // a failed set-up answers late ranks for so long
constexpr int kLoggedStrangers = 32;  // further ones are only counted
constexpr size_t kReadBytes = 64 << 10;

struct Chunk {
  std::shared_ptr<const std::string> bytes;
  size_t sent = 0;
};

struct Connection {
  int number = 0;
  Socket socket;
  std::string from;
  Channel channel;
  std::deque<Chunk> out;
  bool joined = false;   // its kJoin frame was taken
  bool closing = false;  // nothing more is read; closed when `out` is sent and the other end closed
  bool shut = false;
  Deadline deadline;

  Connection(int id, Socket&& s, std::string name, const Secret& secret)
      : number(id),
        socket(std::move(s)),
        from(std::move(name)),
        channel(Channel::Role::kRoot, secret, random_nonce()),
        deadline(kHandshakeMs) {}
};

int descriptor_limit() {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
}

class RootThread : public Root {
 public:
  RootThread(const Id& id, std::vector<Socket> listeners, Deadline deadline)
      : secret_(id.secret),
        reusable_(!id.host.empty()),
        place_(place(id)),
        listeners_(std::move(listeners)),
        deadline_(deadline),
        most_strangers_(std::clamp(descriptor_limit() / kStrangersShare, 4, kStrangers)) {}

  void run();
  void flush() override;
  /// A set-up that goes on is not disturbed.
  void stop_lingering() {
    if (failed_.load(std::memory_order_relaxed)) stop_.store(true, std::memory_order_relaxed);
  }
  void call_off() { called_off_.store(true, std::memory_order_relaxed); }
  const Secret& secret() const { return secret_; }

 private:
  using Connections = std::list<Connection>;

  bool finished();
  int wait_ms() const;
  void poll_once();
  void accept_all(int listener);
  void make_room();
  bool read(Connection& connection);  // false: to be removed
  bool handle(Connection& connection, std::string_view bytes);
  bool write(Connection& connection);
  bool expired(Connection& connection);
  void drop(const Connection& connection, const char* why);
  void post(Connection& connection, std::string bytes);
  void post(const Meeting::Answers& answers);
  void count_pending(int64_t bytes);

  const Secret secret_;
  const bool reusable_;  // a fixed place: free it as soon as all ranks are here
  const std::string place_;
  std::vector<Socket> listeners_;
  Deadline deadline_;
  const int most_strangers_;
  std::atomic<bool> failed_{false};  // what meeting_ says, for other threads
  std::atomic<bool> stop_{false};
  std::atomic<bool> called_off_{false};
  Connections connections_;
  Meeting meeting_;
  Deadline linger_{0};
  bool lingering_ = false;
  int next_number_ = 0;
  int dropped_ = 0;
  Deadline accept_again_{0};
  bool accept_paused_ = false;
  std::mutex pending_mutex_;
  std::condition_variable flushed_;
  int64_t pending_ = 0;  // bytes posted and not yet sent
};

// ---- Registry: which roots live in this process -------------------------------------------------

struct Registry {
  std::mutex mutex;
  std::vector<std::shared_ptr<RootThread>> roots;
  std::vector<std::shared_ptr<RootThread>> inherited;  // by a fork's child: their threads are gone
};

Registry& registry() {
  static Registry* const instance = [] {
    Registry* const made = new Registry;  // never destroyed: roots may outlive main()
    pthread_atfork([] { registry().mutex.lock(); }, [] { registry().mutex.unlock(); },
                   [] {
                     registry().inherited.swap(registry().roots);
                     registry().mutex.unlock();
                   });
    return made;
  }();
  return *instance;
}

template <class Function>
auto with_roots(Function function) {
  Registry& all = registry();
  const std::lock_guard<std::mutex> lock(all.mutex);
  return function(all.roots);
}

std::shared_ptr<RootThread> find_thread(const Secret& secret) {
  return with_roots([&](auto& roots) {
    for (const auto& root : roots)
      if (root->secret() == secret) return root;
    return std::shared_ptr<RootThread>();
  });
}

void launch(const Id& id, std::vector<Socket> listeners, Deadline deadline) {
  auto root = std::make_shared<RootThread>(id, std::move(listeners), deadline);
  with_roots([&](auto& roots) { roots.push_back(root); });
  const auto forget = [root] {
    with_roots([&](auto& roots) {
      roots.erase(std::remove(roots.begin(), roots.end(), root), roots.end());
    });
  };
  try {
    start_thread("tw-root", [root, forget] {
      try {
        root->run();
      } catch (const std::exception& error) {
        TW_LOGF(TW_LOG_ERROR, "the root of a set-up ends: %s", error.what());
      }
      forget();
    }).detach();
  } catch (...) {
    forget();
    throw;
  }
}

// ---- The thread ---------------------------------------------------------------------------------

bool RootThread::finished() {
  if (meeting_.failed()) {
    failed_.store(true, std::memory_order_relaxed);
    if (stop_.load(std::memory_order_relaxed)) return true;
    if (!lingering_) linger_ = Deadline(kLingerMs);
    lingering_ = true;
    const bool nobody_else = meeting_.all_told() || called_off_.load(std::memory_order_relaxed);
    return (nobody_else && connections_.empty()) || linger_.passed();
  }
  const bool ranks = std::any_of(connections_.begin(), connections_.end(),
                                 [](const Connection& c) { return c.joined; });
  if (meeting_.complete()) return !ranks;
  if (!meeting_.anybody() && called_off_.load(std::memory_order_relaxed)) return true;
  if (!meeting_.anybody() && deadline_.passed()) {
    TW_LOGF(TW_LOG_WARN, "no rank came to %s within %lld ms: its unique id is void", place_.c_str(),
            static_cast<long long>(deadline_.timeout_ms()));
    return true;
  }
  return false;
}

void RootThread::run() {
  while (!finished()) {
    if (meeting_.complete() && reusable_) listeners_.clear();
    poll_once();
  }
  for (const Connection& connection : connections_)
    if (!connection.joined) drop(connection, "the set-up is over");
  listeners_.clear();
  connections_.clear();
  if (dropped_ > kLoggedStrangers)
    TW_LOGF(TW_LOG_WARN, "%d connections of strangers were dropped at %s", dropped_,
            place_.c_str());
}

int RootThread::wait_ms() const {
  int wait = 200;  // what other threads ask for is noticed by then
  if (!meeting_.anybody()) wait = deadline_.remaining_ms(wait);
  if (lingering_) wait = linger_.remaining_ms(wait);
  if (accept_paused_) wait = accept_again_.remaining_ms(wait);
  for (const Connection& connection : connections_)
    if (!connection.joined || connection.closing) wait = connection.deadline.remaining_ms(wait);
  return wait;
}

void RootThread::poll_once() {
  if (called_off_.load(std::memory_order_relaxed)) {
    Meeting::Answers answers;
    meeting_.call_off(&answers);
    post(answers);
  }
  if (accept_paused_ && accept_again_.passed()) accept_paused_ = false;
  std::vector<pollfd> polled;
  const size_t listening = accept_paused_ ? 0 : listeners_.size();
  for (size_t i = 0; i < listening; ++i) polled.push_back({listeners_[i].get(), POLLIN, 0});
  for (const Connection& connection : connections_) {
    const int events = POLLIN | (connection.out.empty() ? 0 : POLLOUT);
    polled.push_back({connection.socket.get(), static_cast<short>(events), 0});
  }
  const int ready = poll(polled.data(), polled.size(), wait_ms());
  if (ready < 0 && errno != EINTR) fail_errno("poll", errno);
  size_t at = listening;
  std::vector<int> gone;
  for (Connection& connection : connections_) {
    const short events = polled[at++].revents;
    bool keep = true;
    if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) keep = read(connection);
    if (!keep || expired(connection)) gone.push_back(connection.number);
  }
  for (const int number : gone) {
    Meeting::Answers answers;
    meeting_.lost(number, &answers);
    post(answers);
  }
  connections_.remove_if([&](Connection& connection) {
    const bool keep =
        std::find(gone.begin(), gone.end(), connection.number) == gone.end() && write(connection);
    if (!keep)
      for (const Chunk& chunk : connection.out)
        count_pending(-static_cast<int64_t>(chunk.bytes->size()));
    return !keep;
  });
  for (size_t i = 0; i < listening; ++i)
    if (polled[i].revents != 0) accept_all(polled[i].fd);
}

void RootThread::accept_all(int listener) {
  for (int i = 0; i < kStrangers; ++i) {
    sockaddr_storage from;
    socklen_t bytes;
    Socket socket = Socket::accept(listener, &from, &bytes);
    if (!socket) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        // Waiting clients stay in the backlog until strangers have run out of time.
        make_room();
        accept_paused_ = true;
        accept_again_ = Deadline(20);
      }
      if (errno != ECONNABORTED && errno != EINTR) return;
      continue;
    }
    const auto strangers = std::count_if(connections_.begin(), connections_.end(),
                                         [](const Connection& c) { return !c.joined; });
    if (strangers >= most_strangers_) make_room();
    set_no_delay(socket);
    connections_.emplace_back(next_number_++, std::move(socket),
                              Address::from_system(reinterpret_cast<const sockaddr*>(&from)).text(),
                              secret_);
  }
}

// Drops the oldest connection that has proven nothing.
void RootThread::make_room() {
  const auto oldest = std::find_if(
      connections_.begin(), connections_.end(),
      [](const Connection& c) { return !c.joined && !c.closing && !c.channel.proven(); });
  if (oldest == connections_.end()) return;
  drop(*oldest, "too many connections that prove nothing");
  for (const Chunk& chunk : oldest->out) count_pending(-static_cast<int64_t>(chunk.bytes->size()));
  connections_.erase(oldest);
}

bool RootThread::read(Connection& connection) {
  char buffer[kReadBytes];
  // One buffer a turn, so that nobody starves the others.
  const ssize_t got = recv(connection.socket.get(), buffer, sizeof buffer, 0);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return true;
    if (!connection.joined) drop(connection, std::strerror(errno));
    return false;
  }
  if (got == 0) {
    if (!connection.joined && !connection.closing) drop(connection, "it hung up");
    return false;
  }
  return connection.closing ||
         handle(connection, std::string_view(buffer, static_cast<size_t>(got)));
}

bool RootThread::handle(Connection& connection, std::string_view bytes) {
  std::string reply;
  std::vector<Frame> frames;
  const bool good = connection.channel.feed(bytes, &reply, &frames);
  if (!reply.empty()) post(connection, std::move(reply));
  for (Frame& frame : frames) {
    Meeting::Answers answers;
    const bool bye = frame.kind == Kind::kBye;
    const bool taken = meeting_.take(connection.number, std::move(frame), &answers);
    if (!taken) {
      drop(connection, "a frame that makes no sense here");
      return false;
    }
    connection.joined = true;
    connection.channel.set_limit(kMaxMessage);
    post(answers);
    if (bye || connection.closing) break;
  }
  if (!good) drop(connection, connection.channel.why());
  return good;
}

bool RootThread::write(Connection& connection) {
  while (!connection.out.empty()) {
    Chunk& chunk = connection.out.front();
    const size_t left = chunk.bytes->size() - chunk.sent;
    const ssize_t sent =
        send(connection.socket.get(), chunk.bytes->data() + chunk.sent, left, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EAGAIN || errno == EINTR) return true;
      return connection.joined;  // then the reading side tells why
    }
    chunk.sent += static_cast<size_t>(sent);
    if (chunk.sent < chunk.bytes->size()) continue;
    count_pending(-static_cast<int64_t>(chunk.bytes->size()));
    connection.out.pop_front();
  }
  if (connection.closing && !connection.shut) {
    // The other end closes when it has read why; closing first could destroy what is in flight.
    ::shutdown(connection.socket.get(), SHUT_WR);
    connection.shut = true;
  }
  return true;
}

bool RootThread::expired(Connection& connection) {
  if (connection.joined && !connection.closing) return false;
  if (!connection.deadline.passed()) return false;
  if (!connection.closing) drop(connection, "it did not prove itself in time");
  return true;
}

void RootThread::drop(const Connection& connection, const char* why) {
  if (dropped_++ < kLoggedStrangers)
    TW_LOGF(TW_LOG_WARN, "connection from %s dropped at %s: %s", connection.from.c_str(),
            place_.c_str(), why);
}

void RootThread::post(Connection& connection, std::string bytes) {
  count_pending(static_cast<int64_t>(bytes.size()));
  connection.out.push_back({std::make_shared<const std::string>(std::move(bytes))});
}

void RootThread::post(const Meeting::Answers& answers) {
  for (const Meeting::Answer& answer : answers) {
    const auto found =
        std::find_if(connections_.begin(), connections_.end(),
                     [&](const Connection& c) { return c.number == answer.connection; });
    if (found == connections_.end() || found->closing) continue;
    Channel::Sealed sealed = found->channel.seal(answer.kind, *answer.payload);
    post(*found, std::move(sealed.header));
    count_pending(static_cast<int64_t>(answer.payload->size()));
    found->out.push_back({answer.payload});
    post(*found, std::move(sealed.mac));
    if (answer.kind == Kind::kError) {
      found->closing = true;
      found->deadline = Deadline(kClosingMs);
    }
  }
}

void RootThread::count_pending(int64_t bytes) {
  const std::lock_guard<std::mutex> lock(pending_mutex_);
  pending_ += bytes;
  if (pending_ == 0) flushed_.notify_all();
}

void RootThread::flush() {
  std::unique_lock<std::mutex> lock(pending_mutex_);
  flushed_.wait_for(lock, std::chrono::seconds(1), [&] { return pending_ == 0; });
}

}  // namespace

void Root::start(Id* id, Deadline deadline) {
  std::vector<Socket> listeners = listen_for_ranks(id);
  launch(*id, std::move(listeners), deadline);
}

bool Root::start_at(const Id& id, Deadline deadline) {
  if (const auto earlier = find_thread(id.secret)) earlier->stop_lingering();
  std::vector<Socket> listeners;
  listeners.push_back(listen_at_host(id, deadline));
  if (!listeners[0]) return false;
  launch(id, std::move(listeners), deadline);
  return true;
}

void Root::give_up(const Secret& secret) {
  if (const auto root = find_thread(secret)) root->call_off();
}

std::shared_ptr<Root> Root::find(const Secret& secret) { return find_thread(secret); }

int Root::alive() {
  return with_roots([](auto& roots) { return static_cast<int>(roots.size()); });
}

}  // namespace tw::boot
