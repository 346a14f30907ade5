#include "lib/base/socket.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>

#include "lib/base/error.h"

namespace tw {
namespace {

// All open sockets of this process. The lock is held over every open and close and over fork, so
// that the child closes exactly what it inherited.
struct Open {
  std::mutex mutex;
  std::vector<int> fds;
  uint64_t generation = 1;
};

Open& open_sockets() {
  static Open* const instance = [] {
    Open* const made = new Open;  // never destroyed: threads may hold sockets during exit
    pthread_atfork([] { open_sockets().mutex.lock(); }, [] { open_sockets().mutex.unlock(); },
                   [] {
                     Open& inherited = open_sockets();
                     for (const int fd : inherited.fds) ::close(fd);
                     inherited.fds.clear();
                     ++inherited.generation;
                     inherited.mutex.unlock();
                   });
    return made;
  }();
  return *instance;
}

}  // namespace

Socket::Socket(Socket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), generation_(other.generation_) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
    generation_ = other.generation_;
  }
  return *this;
}

Socket Socket::open(int family, int type) {
  Open& open = open_sockets();
  const std::lock_guard<std::mutex> lock(open.mutex);
  open.fds.reserve(open.fds.size() + 1);
  Socket result;
  result.fd_ = ::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (result.fd_ >= 0) {
    result.generation_ = open.generation;
    open.fds.push_back(result.fd_);
  } else if (errno != EAFNOSUPPORT) {
    fail_errno("socket", errno);
  }
  return result;
}

Socket Socket::accept(int listener, sockaddr_storage* from, socklen_t* from_bytes) {
  Open& open = open_sockets();
  const std::lock_guard<std::mutex> lock(open.mutex);
  open.fds.reserve(open.fds.size() + 1);
  *from_bytes = sizeof *from;
  Socket result;
  result.fd_ = ::accept4(listener, reinterpret_cast<sockaddr*>(from), from_bytes,
                         SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (result.fd_ >= 0) {
    result.generation_ = open.generation;
    open.fds.push_back(result.fd_);
  }
  return result;
}

void Socket::reset() {
  if (fd_ < 0) return;
  Open& open = open_sockets();
  const std::lock_guard<std::mutex> lock(open.mutex);
  if (generation_ == open.generation) {
    open.fds.erase(std::find(open.fds.begin(), open.fds.end(), fd_));
    ::close(fd_);
  }
  fd_ = -1;
}

Address Address::from_ip(std::string_view ip, uint16_t port) {
  Address result;
  if (ip.size() == 4) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&result.storage);
    v4->sin_family = AF_INET;
    std::memcpy(&v4->sin_addr, ip.data(), 4);
    result.bytes = sizeof *v4;
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&result.storage);
    v6->sin6_family = AF_INET6;
    std::memcpy(&v6->sin6_addr, ip.data(), std::min<size_t>(16, ip.size()));
    result.bytes = sizeof *v6;
  }
  result.set_port(port);
  return result;
}

Address Address::from_system(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, address, sizeof v4);
    return from_ip({reinterpret_cast<const char*>(&v4.sin_addr), 4}, ntohs(v4.sin_port));
  }
  sockaddr_in6 v6;
  std::memcpy(&v6, address, sizeof v6);
  std::string_view ip(reinterpret_cast<const char*>(&v6.sin6_addr), 16);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) ip.remove_prefix(12);
  return from_ip(ip, ntohs(v6.sin6_port));
}

uint16_t Address::port() const {
  // The port has the same place in both families.
  return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

void Address::set_port(uint16_t port) {
  reinterpret_cast<sockaddr_in*>(&storage)->sin_port = htons(port);
}

std::string Address::ip() const {
  if (family() == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
    return {reinterpret_cast<const char*>(&v4->sin_addr), 4};
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
  return {reinterpret_cast<const char*>(&v6->sin6_addr), 16};
}

bool Address::loopback() const {
  const std::string raw = ip();
  return raw.size() == 4 ? raw[0] == 127
                         : std::memcmp(raw.data(), &in6addr_loopback, sizeof in6addr_loopback) == 0;
}

std::string Address::text() const {
  char buffer[INET6_ADDRSTRLEN] = "?";
  const std::string raw = ip();
  inet_ntop(family(), raw.data(), buffer, sizeof buffer);
  return tw::text(family() == AF_INET ? "%s:%u" : "[%s]:%u", buffer, port());
}

std::vector<Address> resolve(const std::string& host, uint16_t port) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &raw);
  if (error != 0)
    fail(TW_ERROR_SYSTEM, "the host name \"%s\" does not resolve: %s", host.c_str(),
         gai_strerror(error));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(raw, freeaddrinfo);
  std::vector<Address> result;
  for (const addrinfo* each = raw; each != nullptr; each = each->ai_next) {
    if (each->ai_family != AF_INET && each->ai_family != AF_INET6) continue;
    result.push_back(Address::from_system(each->ai_addr));
    result.back().set_port(port);
  }
  return result;
}

bool is_literal(const std::string& host) {
  unsigned char ip[16];
  return inet_pton(AF_INET, host.c_str(), ip) == 1 || inet_pton(AF_INET6, host.c_str(), ip) == 1;
}

std::vector<Address> interface_addresses(const std::string& name) {
  ifaddrs* raw = nullptr;
  if (getifaddrs(&raw) != 0) fail_errno("getifaddrs", errno);
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> list(raw, freeifaddrs);
  std::vector<Address> result;
  std::string names;
  for (const ifaddrs* each = raw; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || (each->ifa_flags & IFF_UP) == 0) continue;
    const int family = each->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    if ((" " + names + " ").find(" " + std::string(each->ifa_name) + " ") == std::string::npos)
      names += (names.empty() ? "" : " ") + std::string(each->ifa_name);
    if (!name.empty() && name != each->ifa_name) continue;
    sockaddr_in6 v6;
    if (family == AF_INET6) {
      std::memcpy(&v6, each->ifa_addr, sizeof v6);
      if (IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr)) continue;
    }
    result.push_back(Address::from_system(each->ifa_addr));
    result.back().set_port(0);
  }
  if (result.empty() && !name.empty())
    fail(TW_ERROR_INVALID_ARGUMENT,
         "TW_BOOT_INTERFACE=\"%s\" is no interface with an address; valid: %s", name.c_str(),
         names.c_str());
  return result;
}

Socket listen_at(const Address& address) {
  Socket socket = Socket::open(address.family(), SOCK_STREAM);
  if (!socket) return socket;
  const int on = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.family() == AF_INET6) {
    const bool wildcard = address.ip() == std::string(16, '\0');
    const int only = wildcard ? 0 : 1;
    setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  }
  if (::bind(socket.get(), address.get(), address.bytes) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0) {
    const int error = errno;
    socket.reset();
    errno = error;
  }
  return socket;
}

Address bound_address(const Socket& socket) {
  sockaddr_storage bound = {};
  socklen_t bytes = sizeof bound;
  if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &bytes) != 0)
    fail_errno("getsockname", errno);
  return Address::from_system(reinterpret_cast<const sockaddr*>(&bound));
}

bool drop_if_connected_to_itself(Socket& socket) {
  sockaddr_storage peer = {};
  socklen_t bytes = sizeof peer;
  if (getpeername(socket.get(), reinterpret_cast<sockaddr*>(&peer), &bytes) != 0) return false;
  const Address other = Address::from_system(reinterpret_cast<const sockaddr*>(&peer));
  const Address own = bound_address(socket);
  if (own.port() != other.port() || own.ip() != other.ip()) return false;
  const linger reset = {1, 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  socket.reset();
  return true;
}

void set_no_delay(const Socket& socket) {
  const int on = 1;
  setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace tw
