// A fork leaves the child with handles whose threads, sockets and memory belong to the parent.
#pragma once

#include <atomic>

namespace tw {

inline std::atomic<bool> in_forked_child{false};

/// True in the child of a fork() that came after watch_fork.
inline bool forked() { return in_forked_child.load(std::memory_order_relaxed); }

/// Before the first thing is made that a child must not use.
void watch_fork();

}  // namespace tw
