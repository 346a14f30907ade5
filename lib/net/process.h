// This process, as other processes see it.
#pragma once

#include <cstdint>
#include <string>

namespace tw::net {

/// Differs between any two processes that live at the same time.
uint64_t process_id();

/// Equal on two processes exactly when they can share memory: same boot of the same machine, same
/// user, same network namespace (abstract sockets live there). A text, for messages.
std::string host_id();

}  // namespace tw::net
