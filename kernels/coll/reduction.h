// The data flow of collectives that reduce: all_reduce, reduce, reduce_scatter.
#pragma once

#include "tilewire/kernels/coll.h"
#include "tilewire/tile/call.h"

namespace TW_NS {

enum class ReduceTo { kEveryone, kRoot, kOwner };

template <class Block>
TW_FN bool all_reduce_packets(Call<Block>& call, const CollArgs& args) {
  const Range mine = call.share(args.count);
  const size_t offset = mine.begin * args.element;
  const auto* send = static_cast<const char*>(args.send) + offset;
  for (int i = 1; i < call.size(); ++i) {
    const int p = call.peer(i);
    if (!call.ready(p)) return false;
    call.block().put_packets(call.inbox_at(p), send, mine.size() * args.element, call.word(),
                             &args.reduction);
  }
  call.heard_all();
  return call.block().reduce_packets(
      args.reduction, static_cast<char*>(args.recv) + offset, send, call.size(), call.rank(),
      [&](int r) { return call.inbox_from(r); }, mine.size(), args.element, call.word());
}

template <class Block>
TW_FN bool all_reduce_slots(Call<Block>& call, const CollArgs& args) {
  const Range mine = call.share(args.count);
  const size_t offset = mine.begin * args.element;
  const auto* send = static_cast<const char*>(args.send) + offset;
  for (int i = 1; i < call.size(); ++i) {
    const int p = call.peer(i);
    if (!call.ready(p)) return false;
    call.block().store(call.slot_at(p) + offset, send, mine.size() * args.element, args.store);
  }
  call.signal_step(0);
  if (!call.wait_step(0)) return false;
  char* recv = static_cast<char*>(args.recv) + offset;
  call.block().reduce(
      args.reduction, call.size(),
      [&](int r) {
        return r == call.rank() ? Source{send, 0, false}
                                : Source{call.slot_from(r) + offset, 0, false};
      },
      1, [&](int) { return recv; }, mine.size(), args.element, StorePolicy::kPlain);
  return true;
}

template <class Block>
TW_FN bool reduce_message(Call<Block>& call, const CollArgs& args, ReduceTo /*to*/) {
  if (args.algo == CollAlgo::kPacket) return all_reduce_packets(call, args);
  return all_reduce_slots(call, args);
}

}  // namespace TW_NS
