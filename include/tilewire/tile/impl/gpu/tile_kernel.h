// TW_TILE_KERNEL on GPUs: one __global__ function per kernel and target, `name_entry`, launched as
// tile/gpu_launch.h says. `name_shared` tells the reader of a module how much dynamic shared memory
// that is (tests/tools/gpu_report). A program that multiplies has its A as `Operand a` in
// Args, or `tw_type_t products`: that is the type of all its products.
#pragma once

#include <cstdint>
#include <type_traits>

#include "tilewire/tile/tile_block.h"

namespace TW_NS {

template <class Args>
concept HasLeft = std::is_same_v<decltype(Args::a), Operand>;
template <class Args>
concept HasProducts = std::is_same_v<decltype(Args::products), tw_type_t>;

/// Runs `program` by each role with what the kernel's operands are.
template <class Args, class Program>
TW_FN void run_tile_program(const char* name, const Args& args, const Program& program) {
  if constexpr (HasLeft<Args>)
    run_roles<Element::kAny>(name, args.tiles, args.a.type, program);
  else if constexpr (HasProducts<Args>)
    run_roles<Element::kAny>(name, args.tiles, args.products, program);
  else
    run_roles<Element::kNone>(name, args.tiles, TW_FP32, program);
}

}  // namespace TW_NS

// The program is a struct, not a lambda: what multiplies must be inlined, however large it is.
#define TW_TILE_ENTRY(name, Args, run)                                    \
  static_assert(std::is_trivially_copyable_v<Args>);                      \
  struct name##_program {                                                 \
    const Args& args;                                                     \
    template <class Block>                                                \
    TW_FN void operator()(Block& block) const {                           \
      name(block, args);                                                  \
    }                                                                     \
  };                                                                      \
  extern "C" __constant__ uint32_t name##_shared = ::TW_NS::kSharedBytes; \
  extern "C" __global__ void __launch_bounds__(::TW_NS::kBlockThreads, 1) \
      name##_entry(const __grid_constant__ Args args) {                   \
    run;                                                                  \
  }
#define TW_TILE_KERNEL(name, Args) \
  TW_TILE_ENTRY(name, Args, ::TW_NS::run_tile_program(#name, args, name##_program{args}))
#define TW_TILE_KERNEL_OF(name, Args, type)                                            \
  TW_TILE_ENTRY(name, Args,                                                            \
                ::TW_NS::run_roles<::TW_NS::element_of(type)>(#name, args.tiles, type, \
                                                              name##_program{args}))
