// The end of a group: calls of one thread, on any of its comms, run together.
//
// Order. Collectives of one comm run in the order of the calls; of several comms on one device,
// comm by comm in the order of their unique numbers, which is the same on all ranks. Messages make
// progress beside the collectives and beside each other. So groups that hold the same calls on all
// ranks, in any order between comms and kinds, cannot wait for each other in a circle.
//
// Threads. Each device's share runs in the device's turn. A share whose calls name one stream, used
// by no other share, is queued there. The others run before `run_group` returns, after what their
// streams held: in the caller's thread, and on lanes of the comms when there are several.
#pragma once

#include <optional>
#include <vector>

#include "lib/coll/collectives.h"
#include "tilewire.h"

namespace tw {

/// One gathered call: a collective, or a message.
struct GroupItem {
  Comm* comm;
  tw_stream_t stream;
  std::optional<PreparedCall> call;
  Message message;
};

/// Runs the items. Their comms must have been entered (Comm::enter) and stay alive. Throws the
/// first error of what runs before it returns; errors of queued shares surface as those of queued
/// calls.
void run_group(std::vector<GroupItem> items);

}  // namespace tw
