// Where the root of a set-up listens.
#pragma once

#include <vector>

#include "lib/base/deadline.h"
#include "lib/base/socket.h"
#include "lib/boot/id.h"

namespace tw::boot {

/// Listens at a new port, at every address of TW_BOOT_INTERFACE (default: of all interfaces), and
/// fills in id->port and id->addresses. Throws INVALID_ARGUMENT for an unknown interface.
std::vector<Socket> listen_for_ranks(Id* id);

/// Listens at id.host and id.port. An address in use is tried for some seconds, `deadline` at most;
/// empty when it stays so. Throws SYSTEM when it cannot be had at all.
Socket listen_at_host(const Id& id, const Deadline& deadline);

}  // namespace tw::boot
