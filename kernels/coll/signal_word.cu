// A signal from one rank's stream to another's, or the wait for it. The sender counts, where the
// kernel runs: a graph that is replayed signals anew each time.
#include "tilewire/kernels/signal.h"
#include "tilewire/tile/group.h"
#include "tilewire/tile/kernel.h"

namespace TW_NS {

template <class Block>
TW_FN void signal_word(Block& /*block*/, const SignalWordArgs& args) {
  if (args.sent == nullptr) {
    BlockWords words(args.comm.wait, "tw_wait_signal", 0);
    words.wait(ThisBlock(), args.word, args.value, args.sender, args.slot);
    return;
  }
  BlockWords words(args.comm.wait, "tw_signal", 0);
  const uint64_t value = *args.sent + 1;
  words.store_release(ThisBlock(), args.word, value);
  words.set(args.sent, value);
}
TW_KERNEL(signal_word, SignalWordArgs)

}  // namespace TW_NS
