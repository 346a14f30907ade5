// What ranks write down of the calls that they are in, and what is said when these differ.
#pragma once

#include <cstdint>

#include "lib/comm/call_text.h"
#include "lib/comm/comm.h"

namespace tw {

/// The number of the call that this rank is in, or of its next one. A message's wait may look while
/// a collective ends beside it.
uint64_t this_call(const Comm& comm);
/// A wait for a message (tw_send, tw_recv).
bool is_message(const WaitSite& site);

/// For a call that says something to its peers before its kernel runs: writes down which it is, as
/// the kernel will, takes that back when the call is given up, and compares it with the peers'
/// records, which must be there or of other calls: ends the comm when they differ. A note says more
/// of a fused call than its record does, for the sentence; it is written before the record is.
void write_record(Comm& comm, const CallRecord& record);
void write_note(Comm& comm, const FusedNote& note);
void forget_record(Comm& comm, uint64_t sequence);
/// `in_launch`: for a block of the running launch, whose words (Comm::launch_words) may be used.
bool compare_this_call(Comm& comm, bool in_launch);
/// The same up to call `sequence`, which a host may be ahead with.
bool compare_calls(Comm& comm, uint64_t sequence, bool in_launch);

/// Ends the comm when a peer's last calls are known to differ from this rank's. In a call where
/// neither waits for the other (each takes itself for the root) nobody else would notice. Whether
/// it has.
bool compare_last_calls(Comm& comm);

}  // namespace tw
