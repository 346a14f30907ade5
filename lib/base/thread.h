// Threads of the library's own, and what is known of the program's.
#pragma once

#include <functional>
#include <thread>

namespace tw {

/// Starts a thread with all signals blocked: they are the program's. `name` (up to 15 bytes) is
/// what debuggers show. Throws OUT_OF_RESOURCES.
std::thread start_thread(const char* name, std::function<void()> body);

/// Work that a library thread will do, or is doing, on behalf of a call that has returned or waits
/// for it: queued calls, a group's helpers.
class PendingWork {
 public:
  PendingWork();
  PendingWork(const PendingWork&) = delete;
  PendingWork& operator=(const PendingWork&) = delete;
  ~PendingWork();
};

/// True when the calling thread is the program's only one and no work is pending in the library's:
/// then nobody can make the call that this thread waits for. Never true by mistake; may be false
/// for a moment after a thread has ended. Takes microseconds (reads /proc).
bool nobody_else_can_call();

}  // namespace tw
