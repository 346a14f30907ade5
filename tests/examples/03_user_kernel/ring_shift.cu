// A kernel of the user's own: compiled for every CPU target and for sm_90a from this one file.
#include "ring_shift.h"
#include "tilewire/tile/kernel.h"
#include "tilewire/tile/signals.h"

namespace TW_NS {

template <class Block>
TW_FN void ring_shift(Block& block, const RingShiftArgs& args) {
  Signals<Block> signals(block, args.signals);
  const int rank = args.window.rank, size = args.window.size;
  const int right = (rank + 1) % size, left = (rank + size - 1) % size;
  const size_t arrived = 2 * static_cast<size_t>(block.index()), taken = arrived + 1;
  const Range part = part_of({0, args.bytes}, block.index(), block.blocks(), Target::kGranule);

  // The right neighbour is ready when it has entered this launch: its host has read the last one.
  signals.signal(left, taken);
  if (!signals.wait(right, taken)) return;
  block.store(args.window.parts[right] + args.bytes + part.begin,
              args.window.parts[rank] + part.begin, part.size(), StorePolicy::kPlain);
  signals.signal(right, arrived);
  if (!signals.wait(left, arrived)) return;
  signals.close();
}
TW_KERNEL(ring_shift, RingShiftArgs)

}  // namespace TW_NS
