// Sends and receives of one rank: numbering, and transfers to the own rank.
#pragma once

#include <vector>

#include "lib/coll/call.h"
#include "lib/device/device.h"
#include "tilewire/kernels/coll.h"

namespace tw {

/// One tw_send or tw_recv.
struct Message {
  bool is_send;
  void* data;  // not written through for sends
  size_t count;
  int type;
  int peer;
};

/// Throws INVALID_ARGUMENT with the offending value. `in_group`: the peer may be the own rank.
void check_message(const Message& message, const Place& place, bool in_group);

/// Numbers the messages of each ordered pair of ranks.
class MessageNumbers {
 public:
  uint64_t next(const Message& message) {
    return ++(message.is_send ? sent_ : received_)[message.peer];
  }

 private:
  uint64_t sent_[kMaxRanks] = {};
  uint64_t received_[kMaxRanks] = {};
};

/// The k-th send to the own rank goes to the k-th receive from it. Throws INVALID_STATE when one
/// has no partner (nobody could ever provide it), MISMATCH when types or counts differ.
void check_own_messages(const std::vector<Message>& messages);
void copy_own_messages(Device& device, const std::vector<Message>& messages);

}  // namespace tw
