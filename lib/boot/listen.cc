#include "lib/boot/listen.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lib/base/config.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

namespace tw::boot {
namespace {

constexpr int kAddressInUseMs = 1000;  // for an earlier owner of a fixed place to go
constexpr int kPortTries = 20;         // to find a port that is free on all addresses

Address wildcard(int family, uint16_t port) {
  return Address::from_ip(std::string(family == AF_INET ? 4 : 16, '\0'), port);
}

// One socket for both families where the system has IPv6, else IPv4.
Socket listen_everywhere(uint16_t port) {
  Socket both = listen_at(wildcard(AF_INET6, port));
  if (both || errno == EADDRINUSE) return both;
  return listen_at(wildcard(AF_INET, port));
}

// Loopback first: it is the fastest where it works.
std::vector<Address> usable_addresses(const std::string& interface, bool v6) {
  std::vector<Address> all;
  try {
    all = interface_addresses(interface);
  } catch (const Error& error) {
    if (!interface.empty()) throw;
    TW_LOGF(TW_LOG_WARN, "ranks can meet on this host only: %s", error.what());
    all = resolve("127.0.0.1", 0);
  }
  if (all.empty())
    fail(TW_ERROR_SYSTEM, "no network interface is up, not even loopback (ip link set lo up)");
  if (!v6)
    all.erase(std::remove_if(all.begin(), all.end(),
                             [](const Address& a) { return a.family() == AF_INET6; }),
              all.end());
  std::stable_sort(all.begin(), all.end(), [](const Address& a, const Address& b) {
    const auto order = [](const Address& x) {
      return (x.family() == AF_INET ? 0 : 2) + (x.loopback() ? 0 : 1);
    };
    return order(a) < order(b);
  });
  return all;
}

// Listens at every address of the interface, with one port; false when the port is taken at one.
bool listen_at_all(std::vector<Address>* addresses, std::vector<Socket>* listeners) {
  uint16_t port = 0;
  for (Address& address : *addresses) {
    address.set_port(port);
    Socket socket = listen_at(address);
    if (!socket) {
      if (errno == EADDRINUSE) return false;
      fail(TW_ERROR_SYSTEM, "cannot listen at %s: %s", address.text().c_str(),
           std::strerror(errno));
    }
    port = bound_address(socket).port();
    listeners->push_back(std::move(socket));
  }
  return true;
}

}  // namespace

std::vector<Socket> listen_for_ranks(Id* id) {
  const std::string interface = config::string("TW_BOOT_INTERFACE");
  std::vector<Socket> listeners;
  if (interface.empty()) {
    listeners.push_back(listen_everywhere(0));
    if (!listeners[0])
      fail(TW_ERROR_SYSTEM, "cannot listen for the ranks: %s", std::strerror(errno));
    id->addresses = usable_addresses(interface, bound_address(listeners[0]).family() == AF_INET6);
  } else {
    id->addresses = usable_addresses(interface, true);
    for (int tries = 0; !listen_at_all(&id->addresses, &listeners); ++tries) {
      listeners.clear();
      if (tries == kPortTries)
        fail(TW_ERROR_SYSTEM, "no port is free on all addresses of %s", interface.c_str());
    }
  }
  id->port = bound_address(listeners[0]).port();
  for (Address& address : id->addresses) address.set_port(id->port);
  return listeners;
}

Socket listen_at_host(const Id& id, const Deadline& deadline) {
  const bool literal = is_literal(id.host);
  const Deadline patience(kAddressInUseMs);
  for (;;) {
    // A name may resolve to an address that only this host understands, so it takes all of them.
    Socket socket =
        literal ? listen_at(resolve(id.host, id.port).at(0)) : listen_everywhere(id.port);
    if (socket) return socket;
    if (errno == EADDRINUSE && (deadline.passed() || patience.passed())) return socket;
    if (errno != EADDRINUSE)
      fail(TW_ERROR_SYSTEM, "rank 0 cannot listen at %s: %s", place(id).c_str(),
           std::strerror(errno));
    poll(nullptr, 0, 20);
  }
}

}  // namespace tw::boot
