// This process, as other processes see it.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace tw::net {

/// Differs between any two processes that live at the same time.
uint64_t process_id();

/// Equal on two processes exactly when they can share memory: same boot of the same machine, same
/// user, same network namespace (abstract sockets live there). A text, for messages.
std::string host_id();

/// True in the child of a fork() that happened after the first comm was made.
inline std::atomic<bool> in_forked_child{false};
inline bool forked() { return in_forked_child.load(std::memory_order_relaxed); }
void watch_fork();

}  // namespace tw::net
