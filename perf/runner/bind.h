// Which cores a rank runs on.
#pragma once

namespace tw::perf {

// Binds the calling thread to `cores` cores of its own when the host has enough of them for all
// ranks; `threads` ranks live in this process, and the caller is the `thread`-th. Must come before
// the rank's communicator, which counts the cores it may use.
void bind_to_cores(int threads, int thread, int cores);

}  // namespace tw::perf
