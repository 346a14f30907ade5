// A kernel's code, ready to execute: the entry and the functions that it calls, in one array.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/vgpu/sim/op.h"

namespace tw::vgpu {

/// Special registers that hold one value per lane for a block's whole life.
enum class Special : uint8_t {
  kTidX,
  kTidY,
  kTidZ,
  kNtidX,
  kNtidY,
  kNtidZ,
  kCtaidX,
  kCtaidY,
  kCtaidZ,
  kNctaidX,
  kNctaidY,
  kNctaidZ,
  kLaneid,
  kWarpid,
  kNwarpid,
  kSmid,
  kNsmid,
  kGridid,
  kLanemaskEq,
  kLanemaskLt,
  kLanemaskLe,
  kLanemaskGt,
  kLanemaskGe,
  kClusteridX,
  kClusteridY,
  kClusteridZ,
  kNclusteridX,
  kNclusteridY,
  kNclusteridZ,
  kClusterCtaidX,
  kClusterCtaidY,
  kClusterCtaidZ,
  kClusterNctaidX,
  kClusterNctaidY,
  kClusterNctaidZ,
  kClusterCtarank,
  kClusterNctarank,
  kDynamicSmemSize,
  kTotalSmemSize,
};

struct SpecialSlot {
  Special special;
  Slot slot;
};

/// A constant that is the address of a module's variable, which every GPU has its own of.
struct Relocation {
  Slot slot;  // in the constants
  std::string_view symbol;
  int64_t addend;
};

struct Parameter {
  uint32_t offset;
  uint32_t bytes;
};

/// What an op was written as.
struct Origin {
  int line = 0;      // of the PTX
  ptx::Place place;  // of the program's own source
  std::string_view text;
};

/// A call: which lanes' values go where.
struct CallSite {
  struct Copy {
    Slot to, from;
    uint32_t bytes;  // of a lane
  };
  int caller = 0;  // functions of the program, the entry is 0
  int callee = 0;
  int pc = 0;  // of the callee
  Slot return_pc = 0;
  std::vector<Copy> arguments;
  std::vector<Copy> results;
};

struct Program {
  std::string name;
  std::shared_ptr<const ptx::Module> module;  // what the views point into
  std::vector<Op> code;
  std::vector<Origin> origins;  // by op
  std::vector<Slot> lists;
  std::vector<CallSite> calls;
  std::vector<std::vector<int>> jump_tables;  // of brx.idx: pcs
  std::vector<uint8_t> constants;             // 32 lanes each; a module's GPUs patch copies of it
  std::vector<Relocation> relocations;
  std::vector<SpecialSlot> specials;
  uint32_t frame_bytes = 0;  // of a warp's registers
  uint32_t predicates = 1;
  std::vector<Parameter> parameters;
  uint32_t parameter_bytes = 0;
  uint32_t shared_bytes = 0;  // static, from kSharedBase
  uint32_t shared_align = 16;
  uint32_t local_bytes = 0;  // of a thread
  int max_threads = 1024;
  int required_threads = 0;
  int min_blocks = 0;
  int cluster_blocks = 0;

  /// "line 12 (file.cu:34): ld.global.u32 ..." of an op, for messages.
  std::string where(int pc) const;
};

/// Shared addresses begin here, so that 0 is no address of a variable.
inline constexpr uint32_t kSharedBase = 1024;

}  // namespace tw::vgpu
