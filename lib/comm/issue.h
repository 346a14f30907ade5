// How calls that have a number come to their comm's device.
#pragma once

#include <utility>

#include "lib/base/error.h"
#include "lib/comm/comm.h"
#include "lib/device/device.h"

namespace tw {

/// Issues a call that has been numbered: it cannot be given up any more, so that what prevents it
/// ends the comm. Work checks the comm first: after a call that failed, later ones must not speak
/// to peers.
template <class Work>
void issue_numbered(Comm& comm, tw_stream_t stream, Work work) {
  try {
    comm.device().issue(stream, std::move(work), &comm);
  } catch (...) {
    const Error error = current_error();
    comm.end(error.status(), error.what());
    throw Error(error);
  }
}

}  // namespace tw
