// A Llama model's step in one launch: an interpreter of its ops (TW_LLAMA_OPS).
#include "kernels/attention/attention.h"
#include "kernels/llama/ops.h"
#include "kernels/llama/residual.h"
#include "tilewire/tile/program_ops.h"

namespace TW_NS {

#define TW_LLAMA_OP(name) , name##Op
template <class... Ops>
struct AfterFirst;
template <class First, class... Ops>
struct AfterFirst<First, Ops...> {
  using Type = ProgramOps<Ops...>;
};
using LlamaOps = AfterFirst<void TW_LLAMA_OPS(TW_LLAMA_OP)>::Type;
#undef TW_LLAMA_OP

template <class Block>
TW_FN void llama(Block& block, const ProgramArgs& args) {
  run_program<LlamaOps>(block, args);
}
TW_TILE_KERNEL_OF(llama, ProgramArgs, TW_BF16)

}  // namespace TW_NS
