// Waiting for a signal on the host, with a limit of its own: passing it does not end the comm.
#pragma once

#include "lib/comm/comm.h"

namespace tw {

/// Returns when *word >= value (acquire). `timeout_ms` 0: never ends by time. Throws TIMEOUT (the
/// comm stays usable) or the comm's error.
void host_wait(Comm& comm, const WaitSite& site, const uint64_t* word, uint64_t value,
               int64_t timeout_ms);

}  // namespace tw
