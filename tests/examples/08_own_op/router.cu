// An instruction of your own in a program: the library's interpreter with one more op. It says what
// it does to a piece; when it may, what it must wait for and whom it must tell is derived.
#include "router.h"
#include "tilewire/tile/program_ops.h"

namespace TW_NS {

struct SoftmaxToAllOp {
  using Args = SoftmaxToAll;
  static constexpr bool kConsumerOnly = true;  // rows only: no products, no copies
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* at) {
    Block& block = program.tile_block();
    program.come();  // what this instruction waits for has happened
    const Row row = program.row(args.n);
    for (size_t i = at[0]; i < at[0] + at[1]; ++i) {
      block.load(row, args.scores.at(i, 0).data, args.scores.type);
      block.exponentials(row.data, row, block.max(row), 1);
      block.scale(row, 1 / block.sum(row));
      program.call().meet();  // the peers are in this launch: what it stores may be overwritten
      const size_t place = (args.first_row + i) * args.n * sizeof(float);
      block.store_all(
          program.size(),
          [&](int p) { return peer_ptr(args.routes, program.call().peer(p), place); }, nullptr, row,
          TW_FP32);
    }
  }
};

template <class Block>
TW_FN void router(Block& block, const ProgramArgs& args) {
  run_program<ProgramOpsAnd<SoftmaxToAllOp>>(block, args);
}
TW_TILE_KERNEL(router, ProgramArgs)

}  // namespace TW_NS
