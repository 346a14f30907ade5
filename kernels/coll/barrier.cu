// Returns when every rank has called it, and orders what they did before it. Where packets order
// nothing but their own payload there are flags instead.
#include "tilewire/kernels/coll.h"
#include "tilewire/tile/call.h"
#include "tilewire/tile/kernel.h"

namespace TW_NS {

template <class Block>
TW_FN bool meet_by_packets(Block& block, Call<Block>& call) {
  for (int i = 1; i < call.size(); ++i) {
    const int p = call.peer(i);
    if (!call.inbox_ready(p)) return false;
    block.put_packets(call.inbox_at(p, 0), nullptr, 0, call.word(), nullptr);
  }
  for (int i = 1; i < call.size(); ++i) {
    const int p = call.source(i);
    if (!block.get_packets(nullptr, call.inbox_from(p, 0), 0, call.word(), p)) return false;
  }
  call.heard_all();
  for (int i = 1; i < call.size(); ++i) call.expect_packets(call.peer(i), 0, 0);
  return true;
}

template <class Block>
TW_FN void barrier(Block& block, const CollArgs& args) {
  Call call(block, args);
  if constexpr (Target::kPacketsOrder) {
    if (!meet_by_packets(block, call)) return;
  } else {
    call.signal_step(0);
    if (!call.wait_step(0)) return;
  }
  call.close();
}
TW_KERNEL(barrier, CollArgs)

}  // namespace TW_NS
