// Sockets that do not survive a fork, and IP addresses.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tw {

/// An owned socket: close-on-exec, non-blocking, and closed in the child of a fork, so that a child
/// of a rank never keeps the rank's connections alive. (A copy of the object in the child is
/// inert.)
class Socket {
 public:
  Socket() = default;
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { reset(); }

  /// socket(). Throws for lack of descriptors or memory; empty when the family is not supported.
  static Socket open(int family, int type);

  /// accept(); empty, with errno set, when there is nothing to accept.
  static Socket accept(int listener, struct sockaddr_storage* from, socklen_t* from_bytes);

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
  uint64_t generation_ = 0;  // of the process: differs in the child of a fork
};

/// An IPv4 or IPv6 address with port.
struct Address {
  sockaddr_storage storage = {};
  socklen_t bytes = 0;

  /// From 4 or 16 bytes in network order.
  static Address from_ip(std::string_view ip, uint16_t port);

  /// From what the system returned; an IPv4 address mapped into IPv6 becomes IPv4.
  static Address from_system(const sockaddr* address);

  int family() const { return storage.ss_family; }
  uint16_t port() const;
  void set_port(uint16_t port);
  std::string ip() const;  // 4 or 16 bytes
  bool loopback() const;
  std::string text() const;  // 127.0.0.1:80, [::1]:80
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// Addresses of `host` (a name or a literal). Throws SYSTEM naming it when it does not resolve.
std::vector<Address> resolve(const std::string& host, uint16_t port);

/// True when `host` is an IPv4 or IPv6 literal.
bool is_literal(const std::string& host);

/// Addresses of the interface `name`, or of all that are up when empty; IPv6 link-local ones, which
/// mean nothing to another host, are left out. Throws INVALID_ARGUMENT, listing the interfaces,
/// when `name` has none.
std::vector<Address> interface_addresses(const std::string& name);

/// Listens at `address` (port 0: the system chooses). A wildcard IPv6 address takes IPv4 as well.
/// Empty, with errno set, when the address cannot be bound.
Socket listen_at(const Address& address);

/// The address that `socket` is bound to.
Address bound_address(const Socket& socket);

/// Where nobody listens at an ephemeral port, the system may give that very port to the socket that
/// connects to it, and TCP then connects the socket to itself. Closes such a socket, in a way that
/// leaves the port free at once: who should listen there may be about to.
bool drop_if_connected_to_itself(Socket& socket);

/// No delay for small messages.
void set_no_delay(const Socket& socket);

}  // namespace tw
