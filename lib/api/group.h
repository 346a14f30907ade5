// The calls that a thread has gathered since tw_group_begin.
#pragma once

#include "lib/base/error.h"
#include "lib/coll/call.h"
#include "lib/coll/point_to_point.h"
#include "tilewire.h"

namespace tw {

class Comm;

namespace api::group {

/// How many tw_group_begin of this thread are open. Initial-exec: a plain load on the way of every
/// collective.
extern constinit thread_local int t_depth __attribute__((tls_model("initial-exec")));
inline bool is_open() { return __builtin_expect(t_depth != 0, 0); }

/// Checks the arguments (throws) and keeps the call for the end of the group.
void add(tw_comm_t handle, Comm& comm, const Call& call, tw_stream_t stream);
void add(tw_comm_t handle, Comm& comm, const Message& message, tw_stream_t stream);

/// Calls of `comm` were gathered.
bool holds(const Comm& comm);

/// A call was refused: the group will not run.
void refused(const Error& error);

/// Throws INVALID_STATE, and the group will not run, when one is open: for calls that ranks make in
/// an order, one by one.
void refuse_call(const char* function);

void begin();

/// Ends the innermost group; the outermost one runs what was gathered. Throws.
void end();

}  // namespace api::group
}  // namespace tw
