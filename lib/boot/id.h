// What the 128 bytes of a tw_unique_id_t mean.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/socket.h"
#include "lib/boot/wire.h"

namespace tw::boot {

/// Bytes: 4 magic, 1 form, 1 count, 2 port, 16 secret, 100 place, 4 checksum (typing errors).
/// Place: addresses as (bytes of the address, address) each, or the host name.
struct Id {
  Secret secret = {};
  uint16_t port = 0;
  std::vector<Address> addresses;  // where the root listens ...
  std::string host;                // ... or, when not empty, where rank 0 will listen
};

constexpr size_t kIdPlaceBytes = 100;

/// Addresses that do not fit are left out, from the end. Throws INVALID_ARGUMENT for a host name
/// that does not fit.
tw_unique_id_t encode(const Id& id);

/// Throws INVALID_ARGUMENT when `raw` was not made by encode().
Id decode(const tw_unique_id_t& raw);

/// "host:port" or the list of addresses, for sentences. Never the secret.
std::string place(const Id& id);

}  // namespace tw::boot
