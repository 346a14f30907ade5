// Threads of the library's own: they take none of the program's signals.
#pragma once

#include <functional>
#include <thread>

namespace tw {

/// Starts a thread with all signals blocked; `name` (up to 15 characters) is what debuggers show.
/// Throws OUT_OF_RESOURCES.
std::thread start_thread(const char* name, std::function<void()> body);

}  // namespace tw
