#include "lib/net/mesh.h"

#include <poll.h>
#include <sodium.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "lib/base/error.h"
#include "lib/base/log.h"

namespace tw::net {
namespace {

constexpr int kProbeMs = 200;      // how often a rank that does not come is looked for
constexpr int kGreetingMs = 2000;  // a stranger who connects and says nothing is dropped after this

/// What a connecting rank says first: who it is, and proof that it knows the key. The connection
/// never leaves the machine and the name is fresh, so a replay has nothing to answer to.
struct Greeting {
  int32_t from;
  int32_t to;
  unsigned char proof[crypto_auth_BYTES];
};

Greeting greeting(int from, int to, const std::string& name, const MeshKey& key) {
  Greeting g = {from, to, {}};
  const std::string said = text("%d %d ", from, to) + name;
  crypto_auth(g.proof, reinterpret_cast<const unsigned char*>(said.data()), said.size(),
              key.data());
  return g;
}

/// The address of abstract name `name`.
socklen_t address_of(const std::string& name, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

bool same_user(int fd) {
  ucred who = {};
  socklen_t bytes = sizeof who;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &bytes) == 0 && who.uid == geteuid();
}

bool readable(int fd, int timeout_ms) {
  pollfd p = {fd, POLLIN, 0};
  int n;
  do {
    n = poll(&p, 1, timeout_ms);
  } while (n < 0 && errno == EINTR);
  if (n < 0) fail_errno("poll", errno);
  return n > 0;
}

}  // namespace

Mesh::Mesh() : listener_(Socket::open(AF_UNIX, SOCK_STREAM)) {
  unsigned char random[16];
  randombytes_buf(random, sizeof random);
  char hex[2 * sizeof random + 1];
  sodium_bin2hex(hex, sizeof hex, random, sizeof random);
  name_ = std::string("tilewire-") + hex;
  sockaddr_un address;
  const socklen_t bytes = address_of(name_, address);
  if (bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), bytes) != 0)
    fail_errno("bind of a unix socket", errno);
  if (listen(listener_.get(), SOMAXCONN) != 0) fail_errno("listen on a unix socket", errno);
}

void Mesh::connect(int rank, const std::vector<std::string>& names, const MeshKey& key,
                   const Deadline& deadline) {
  sockets_.resize(names.size());
  // A connect succeeds as soon as it is queued at the listener, so all ranks connect to lower ranks
  // first and accept afterwards, without waiting for each other.
  for (int peer = 0; peer < rank; ++peer)
    if (const std::string& name = names[static_cast<size_t>(peer)]; !name.empty())
      connect_to(rank, peer, name, key, deadline);
  while (!missing(rank, names).empty()) {
    if (readable(listener_.get(), deadline.remaining_ms(kProbeMs))) {
      accept_one(rank, key, names);
    } else if (deadline.passed()) {
      fail(TW_ERROR_TIMEOUT, "rank %d: no connection from rank %d within %lld ms", rank,
           missing(rank, names).front(), static_cast<long long>(deadline.timeout_ms()));
    } else {
      check_alive(rank, names);
    }
  }
  listener_.reset();
}

std::vector<int> Mesh::missing(int rank, const std::vector<std::string>& names) const {
  std::vector<int> result;
  for (size_t peer = static_cast<size_t>(rank) + 1; peer < names.size(); ++peer)
    if (!names[peer].empty() && !sockets_[peer]) result.push_back(static_cast<int>(peer));
  return result;
}

// A rank listens until every rank above it has connected, and connects to those below it first. So
// one that has not come to us and does not listen any more is dead, unless it has just come.
void Mesh::check_alive(int rank, const std::vector<std::string>& names) const {
  for (const int peer : missing(rank, names)) {
    const Socket probe = Socket::open(AF_UNIX, SOCK_STREAM);
    sockaddr_un address;
    const socklen_t bytes = address_of(names[static_cast<size_t>(peer)], address);
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), bytes) != 0 &&
        errno == ECONNREFUSED && !readable(listener_.get(), 0))
      fail(TW_ERROR_PEER_LOST, "rank %d died during set-up", peer);
  }
}

void Mesh::connect_to(int rank, int peer, const std::string& name, const MeshKey& key,
                      const Deadline& deadline) {
  Socket socket = Socket::open(AF_UNIX, SOCK_STREAM);
  sockaddr_un address;
  const socklen_t bytes = address_of(name, address);
  bool connected = false;
  for (;;) {
    connected = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), bytes) == 0;
    if (connected || errno != EAGAIN || deadline.passed()) break;
    poll(nullptr, 0, 1);  // the peer's queue is full
  }
  if (!connected && errno == ECONNREFUSED)  // it listens until we have come
    fail(TW_ERROR_PEER_LOST, "rank %d died during set-up", peer);
  if (!connected)
    fail(TW_ERROR_UNREACHABLE,
         "rank %d cannot reach rank %d on this machine (%s): they must share a network namespace "
         "and a user",
         rank, peer, strerrordesc_np(errno));
  if (!same_user(socket.get()))
    fail(TW_ERROR_UNREACHABLE, "rank %d's socket belongs to another user than rank %d's", peer,
         rank);
  const Greeting g = greeting(rank, peer, name, key);
  if (send(socket.get(), &g, sizeof g, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof g))
    fail_errno("greeting a peer", errno);
  sockets_[static_cast<size_t>(peer)] = std::move(socket);
}

void Mesh::accept_one(int rank, const MeshKey& key, const std::vector<std::string>& names) {
  sockaddr_storage from;
  socklen_t from_bytes = sizeof from;
  Socket socket = Socket::accept(listener_.get(), &from, &from_bytes);
  if (!socket) return;
  Greeting g;
  ssize_t got = -1;
  if (same_user(socket.get()) && readable(socket.get(), kGreetingMs))
    got = recv(socket.get(), &g, sizeof g, MSG_WAITALL);
  if (got == 0) return;  // check_alive of a peer
  if (got != static_cast<ssize_t>(sizeof g) || g.to != rank || g.from <= rank ||
      g.from >= static_cast<int>(names.size())) {
    TW_LOGF(TW_LOG_WARN, "rank %d: a stranger on the unix socket was dropped", rank);
    return;
  }
  const Greeting want = greeting(g.from, rank, name_, key);
  if (sodium_memcmp(want.proof, g.proof, sizeof g.proof) != 0) {
    TW_LOGF(TW_LOG_WARN, "rank %d: a connection without the comm's key was dropped", rank);
    return;
  }
  sockets_[static_cast<size_t>(g.from)] = std::move(socket);
}

void Mesh::send_fd(int peer, const Fd& fd) const {
  char byte = 'f';
  iovec data = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int raw = fd.get();
  std::memcpy(CMSG_DATA(header), &raw, sizeof raw);
  if (sendmsg(socket(peer), &message, MSG_NOSIGNAL) == 1) return;
  if (errno == EPIPE || errno == ECONNRESET)
    fail(TW_ERROR_PEER_LOST, "rank %d died while it was sent a file descriptor", peer);
  fail_errno(text("passing a file descriptor to rank %d", peer).c_str(), errno);
}

Fd Mesh::receive_fd(int peer, const Deadline& deadline) const {
  if (!readable(socket(peer), deadline.remaining_ms()))
    fail(TW_ERROR_TIMEOUT, "rank %d passed no file descriptor within %lld ms", peer,
         static_cast<long long>(deadline.timeout_ms()));
  char byte;
  iovec data = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(socket(peer), &message, MSG_CMSG_CLOEXEC);
  if (got <= 0) fail(TW_ERROR_PEER_LOST, "rank %d died while it passed a file descriptor", peer);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS || (message.msg_flags & MSG_CTRUNC) != 0)
    fail(TW_ERROR_OUT_OF_RESOURCES,
         "a file descriptor from rank %d could not be received: too many open files", peer);
  int raw;
  std::memcpy(&raw, CMSG_DATA(header), sizeof raw);
  return Fd(raw);
}

}  // namespace tw::net
