// A rank's end of a set-up over TCP.
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>

#include "lib/base/config.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/socket.h"
#include "lib/boot/exchange.h"
#include "lib/boot/id.h"
#include "lib/boot/root.h"
#include "lib/boot/wire.h"

namespace tw::boot {
namespace {

constexpr int kFirstAttemptMs = 250;  // for connection and challenge; doubles with every round
constexpr int kLastAttemptMs = 8000;  // ... up to here
constexpr int kGoneMs = 500;          // nobody listens for so long: the root is gone
constexpr int kAnswerMs = 1000;       // for the root to say who is missing
constexpr int kByeMs = 200;           // to say good-bye to a root that does not read
constexpr size_t kReadBytes = 64 << 10;

// Waits for `events`; false when `deadline` passed first.
bool wait_for(const Socket& socket, short events, const Deadline& deadline) {
  for (;;) {
    pollfd polled = {socket.get(), events, 0};
    const int ready = poll(&polled, 1, deadline.remaining_ms());
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) fail_errno("poll", errno);
    if (deadline.passed()) return false;
  }
}

// A connection to the root. Functions return why they failed, "" when they did not.
class Link {
 public:
  explicit Link(const Secret& secret) : channel_(Channel::Role::kRank, secret, random_nonce()) {}

  /// Connects and proves both ends to each other.
  std::string open(const Address& address, const Deadline& deadline);

  std::string send(Kind kind, std::string_view payload, const Deadline& deadline);

  enum class Read { kFrame, kLate, kClosed };
  Read read(Frame* frame, const Deadline& deadline);
  const std::string& why() const { return why_; }
  void set_limit(size_t bytes) { channel_.set_limit(bytes); }
  explicit operator bool() const { return static_cast<bool>(socket_); }

 private:
  std::string write(std::string_view bytes, const Deadline& deadline);
  bool receive();  // false: closed, see why_

  Socket socket_;
  Channel channel_;
  std::deque<Frame> frames_;
  std::string why_;
};

std::string Link::write(std::string_view bytes, const Deadline& deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      if (!wait_for(socket_, POLLOUT, deadline)) return "it does not read";
    } else if (errno != EINTR) {
      return std::strerror(errno);
    }
  }
  return {};
}

bool Link::receive() {
  char buffer[kReadBytes];
  const ssize_t got = recv(socket_.get(), buffer, sizeof buffer, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (got <= 0) {
    why_ = got == 0 ? "it hung up" : std::strerror(errno);
    return false;
  }
  std::string reply;
  std::vector<Frame> frames;
  const bool good =
      channel_.feed(std::string_view(buffer, static_cast<size_t>(got)), &reply, &frames);
  for (Frame& frame : frames) frames_.push_back(std::move(frame));
  if (!good) {
    why_ = channel_.why();
    return false;
  }
  why_ = write(reply, Deadline(kAnswerMs));
  return why_.empty();
}

std::string Link::open(const Address& address, const Deadline& deadline) {
  socket_ = Socket::open(address.family(), SOCK_STREAM);
  if (!socket_) return "this system has no such addresses";
  set_no_delay(socket_);
  if (connect(socket_.get(), address.get(), address.bytes) != 0) {
    if (errno != EINPROGRESS && errno != EINTR) return std::strerror(errno);
    if (!wait_for(socket_, POLLOUT, deadline)) return "no answer";
    int error = 0;
    socklen_t bytes = sizeof error;
    getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &bytes);
    if (error != 0) return std::strerror(error);
  }
  if (drop_if_connected_to_itself(socket_)) return std::strerror(ECONNREFUSED);
  std::string why = write(channel_.start(), deadline);
  while (why.empty() && !channel_.proven()) {
    if (!wait_for(socket_, POLLIN, deadline)) return "it does not answer";
    if (!receive()) why = why_;
  }
  return why;
}

std::string Link::send(Kind kind, std::string_view payload, const Deadline& deadline) {
  const Channel::Sealed sealed = channel_.seal(kind, payload);
  std::string why = write(sealed.header, deadline);
  if (why.empty()) why = write(payload, deadline);
  if (why.empty()) why = write(sealed.mac, deadline);
  return why;
}

Link::Read Link::read(Frame* frame, const Deadline& deadline) {
  while (frames_.empty()) {
    if (!wait_for(socket_, POLLIN, deadline)) return Read::kLate;
    if (!receive() && frames_.empty()) return Read::kClosed;
  }
  *frame = std::move(frames_.front());
  frames_.pop_front();
  return Read::kFrame;
}

// ---- The exchange -------------------------------------------------------------------------------

class TcpExchange : public Exchange {
 public:
  TcpExchange(Id id, int n, int rank, Deadline deadline)
      : id_(std::move(id)), n_(n), rank_(rank), deadline_(deadline), link_(id_.secret) {}
  ~TcpExchange() override;

  int rank() const override { return rank_; }
  int size() const override { return n_; }
  std::vector<std::string> all_gather(std::string_view mine) override;

  void arrive(std::string_view agreement);

 private:
  bool reach(const std::string& join);
  bool attempt(const Address& address, const Deadline& limit, const std::string& join);
  std::vector<Address> addresses() const;
  [[noreturn]] void nobody_listens() const;
  [[noreturn]] void give_up();
  [[noreturn]] void root_lost();
  Frame receive(Kind wanted);
  bool handle(const Frame& frame, Kind wanted);

  const Id id_;
  const int n_;
  const int rank_;
  const Deadline deadline_;
  const int64_t began_ns_ = now_ns();
  Link link_;
  bool joined_ = false;
  int host_ = -1;         // the rank whose process relays
  std::string attempts_;  // what became of the last attempts, for sentences
};

std::vector<Address> TcpExchange::addresses() const {
  if (id_.host.empty()) return id_.addresses;
  try {
    return resolve(id_.host, id_.port);
  } catch (const Error& error) {
    TW_LOGF(TW_LOG_WARN, "%s", error.what());  // may be the name service: tried again
    return {};
  }
}

// True when the join was taken. False: try another address, or later.
bool TcpExchange::attempt(const Address& address, const Deadline& limit, const std::string& join) {
  link_ = Link(id_.secret);
  std::string why = link_.open(address, limit);
  if (why.empty()) why = link_.send(Kind::kJoin, join, deadline_);
  if (why.empty()) {
    // The root may hold our number from here on, so this waits as long as it takes.
    Frame frame;
    const Link::Read read = link_.read(&frame, deadline_);
    if (read == Link::Read::kFrame) {
      joined_ = true;
      link_.set_limit(kResultLimit);
      if (!handle(frame, Kind::kWelcome))
        fail(TW_ERROR_INTERNAL, "the root answered a join with a frame of kind %d",
             static_cast<int>(frame.kind));
      return true;
    }
    why = read == Link::Read::kLate ? "it does not answer" : link_.why();
  }
  attempts_ += (attempts_.empty() ? "" : "; ") + address.text() + ": " + why;
  TW_LOGF(TW_LOG_DEBUG, "set-up: rank %d at %s: %s", rank_, address.text().c_str(), why.c_str());
  return false;
}

// One round over all addresses until one takes the join.
bool TcpExchange::reach(const std::string& join) {
  int attempt_ms = kFirstAttemptMs;
  Deadline gone(kGoneMs);
  for (int round = 0;; ++round) {
    attempts_.clear();
    bool silent = false;  // somewhere there may be a root that is only slow
    for (const Address& address : addresses()) {
      const Deadline limit(std::clamp(deadline_.remaining_ms(attempt_ms), 1, attempt_ms));
      if (attempt(address, limit, join)) return true;
      silent = silent || limit.passed();
      if (deadline_.passed()) return false;
    }
    if (silent) gone = Deadline(kGoneMs);
    if (id_.host.empty() && gone.passed()) nobody_listens();
    attempt_ms = std::min(2 * attempt_ms, kLastAttemptMs);
    poll(nullptr, 0, std::min(deadline_.remaining_ms(), std::min(10 << std::min(round, 4), 100)));
    if (deadline_.passed()) return false;
  }
}

void TcpExchange::nobody_listens() const {
  fail(TW_ERROR_PEER_LOST,
       "rank %d of %d: nobody serves this unique id any more: the process that made it ended, its "
       "time passed, or its comm is already set up (%s)",
       rank_, n_, attempts_.c_str());
}

void TcpExchange::arrive(std::string_view agreement) {
  Join join;
  join.rank = static_cast<uint32_t>(rank_);
  join.n = static_cast<uint32_t>(n_);
  join.hosts = Root::find(id_.secret) != nullptr;
  join.agreement = agreement;
  if (!reach(encode(join)))
    fail(TW_ERROR_TIMEOUT, "rank %d of %d found no %s within %lld ms (%s)", rank_, n_,
         id_.host.empty() ? "root of its unique id" : "rank 0 that listens",
         static_cast<long long>(deadline_.timeout_ms()),
         attempts_.empty() ? place(id_).c_str() : attempts_.c_str());
  receive(Kind::kReady);
}

// Deals with a frame; true when it is the wanted one.
bool TcpExchange::handle(const Frame& frame, Kind wanted) {
  if (frame.kind == Kind::kError) {
    Failure failure;
    if (!decode(frame.payload, &failure)) failure = {TW_ERROR_INTERNAL, "unreadable failure"};
    throw Error(failure.status, failure.sentence);
  }
  uint64_t number = 0;
  if (frame.kind == Kind::kHost && decode_number(frame.payload, &number)) {
    host_ = static_cast<int>(number);
    return false;
  }
  if (frame.kind != wanted)
    fail(TW_ERROR_INTERNAL, "the root sent a frame of kind %d instead of %d",
         static_cast<int>(frame.kind), static_cast<int>(wanted));
  return true;
}

Frame TcpExchange::receive(Kind wanted) {
  for (;;) {
    Frame frame;
    const Link::Read read = link_.read(&frame, deadline_);
    if (read == Link::Read::kLate) give_up();
    if (read == Link::Read::kClosed) root_lost();
    if (handle(frame, wanted)) return frame;
  }
}

// Time is up: the root tells everybody who is missing.
void TcpExchange::give_up() {
  const int64_t waited_ms = (now_ns() - began_ns_) / 1000000;
  const Deadline grace(kAnswerMs);
  Link::Read read = Link::Read::kFrame;
  link_.send(Kind::kOverdue, encode_number(static_cast<uint64_t>(waited_ms)), grace);
  while (read == Link::Read::kFrame) {
    Frame frame;
    read = link_.read(&frame, grace);
    // What was on its way comes first; it came too late.
    if (read == Link::Read::kFrame && frame.kind == Kind::kError) handle(frame, Kind::kError);
  }
  fail(TW_ERROR_TIMEOUT,
       "rank %d of %d waited %lld ms, and the process that relays the set-up does not answer "
       "(is it stopped?)",
       rank_, n_, static_cast<long long>(waited_ms));
}

void TcpExchange::root_lost() {
  if (host_ >= 0)
    fail(TW_ERROR_PEER_LOST, "rank %d of %d, which relays the set-up, hung up (its process ended?)",
         host_, n_);
  fail(TW_ERROR_PEER_LOST, "the process that made the unique id hung up (it ended?): %s",
       link_.why().c_str());
}

std::vector<std::string> TcpExchange::all_gather(std::string_view mine) {
  if (mine.size() > kMaxMessage)
    fail(TW_ERROR_INTERNAL, "a set-up message of %zu bytes is longer than %zu", mine.size(),
         kMaxMessage);
  const std::string why = link_.send(Kind::kGather, mine, deadline_);
  // When sending failed, the reason may already be here to read.
  if (!why.empty()) TW_LOGF(TW_LOG_DEBUG, "set-up: rank %d cannot send: %s", rank_, why.c_str());
  const Frame frame = receive(Kind::kResult);
  std::vector<std::string> all;
  if (!decode_result(frame.payload, static_cast<size_t>(n_), &all))
    fail(TW_ERROR_INTERNAL, "the root sent an unreadable result");
  return all;
}

TcpExchange::~TcpExchange() {
  try {
    if (joined_) link_.send(Kind::kBye, {}, Deadline(kByeMs));
    // Ranks that wait for the last result get it even if this process ends now.
    if (const auto root = Root::find(id_.secret)) root->flush();
  } catch (const std::exception& error) {
    TW_LOGF(TW_LOG_WARN, "leaving a set-up: %s", error.what());
  }
}

// Somebody listens where rank 0 should. If it is another rank 0, joining there tells all ranks.
[[noreturn]] void occupied(const Id& id, int n, std::string_view agreement) {
  try {
    TcpExchange(id, n, 0, Deadline(kAnswerMs)).arrive(agreement);
  } catch (const Error& error) {
    if (error.status() == TW_ERROR_MISMATCH) throw;
    fail(TW_ERROR_SYSTEM, "rank 0 cannot listen at %s, which is in use (%s)", place(id).c_str(),
         error.what());
  }
  fail(TW_ERROR_SYSTEM, "rank 0 cannot listen at %s, which is in use", place(id).c_str());
}

}  // namespace

std::unique_ptr<Exchange> join(const tw_unique_id_t& raw, int n, int rank,
                               std::string_view agreement, Deadline deadline) {
  if (n < 1 || n > kMaxRanks)
    fail(TW_ERROR_INVALID_ARGUMENT, "%d ranks are not within 1 to %d", n, kMaxRanks);
  if (rank < 0 || rank >= n)
    fail(TW_ERROR_INVALID_ARGUMENT, "rank %d is not within 0 to %d", rank, n - 1);
  Id id = decode(raw);
  if (!id.host.empty() && rank == 0 && !Root::start_at(id, deadline)) occupied(id, n, agreement);
  auto exchange = std::make_unique<TcpExchange>(std::move(id), n, rank, deadline);
  exchange->arrive(agreement);
  return exchange;
}

tw_unique_id_t create_unique_id() {
  Id id;
  const Nonce random = random_nonce();
  std::copy_n(random.begin(), id.secret.size(), id.secret.begin());
  Root::start(&id, Deadline(config::integer("TW_COMM_SETUP_TIMEOUT_MS")));
  return encode(id);
}

void destroy_unique_id(const tw_unique_id_t& id) { Root::give_up(decode(id).secret); }

}  // namespace tw::boot
