// Runs a call of the C API on a comm: the checks that all share, then inline or queued.
#pragma once

#include <utility>

#include "lib/api/handles.h"
#include "lib/comm/issue.h"
#include "lib/device/stream.h"

namespace tw::api {

/// What calls on a comm have in common before they look at their arguments.
inline void check_ready(Comm& comm, tw_stream_t stream) {
  comm.check();
  if (stream != nullptr) comm.device().check_stream(stream);
  comm.device().check_queued(&comm);
}

/// Runs `work` (returns a status or throws) in issue order on the comm's device.
template <class F>
tw_status_t issue(Comm& comm, tw_stream_t stream, F work) {
  const InUse use(comm);
  comm.device().check_queued(&comm);
  comm.check();
  if (stream == nullptr && comm.device().idle()) return work();
  return comm.device().issue(
      stream,
      [&comm, work = std::move(work)]() mutable {
        comm.check();  // what was queued before may have ended it
        return work();
      },
      &comm);
}

}  // namespace tw::api
