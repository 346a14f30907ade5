// Cases of the GEMM table carried out by kernel entries: argument structs made by hand for one
// rank, over a TileWorld. Nothing here is the library's host code.
#pragma once

#include <string>
#include <vector>

#include "lib/device/device.h"
#include "tests/support/gemm_memory.h"
#include "tests/support/tile_ranks.h"
#include "tilewire/kernels/gemm.h"
#include "tilewire/tile/packed.h"

namespace tw::test {

/// How a case is carried out: nothing here may change a bit of the result.
struct GemmRun {
  int blocks = 1;
  bool threads = false;  // blocks on threads of their own, else one after the other
  uint32_t tile_rows = 16, tile_cols = 64;
  Raster raster = Raster::kRowsOuter;
  StorePolicy store = StorePolicy::kPlain;
  ReducePath path = ReducePath::kViaOwner;
  bool own_cols = false;     // gemm_all_reduce via the owner: of columns, where there is no norm
  bool whole_rows = false;   // where owners have rows, tiles have those of several owners
  size_t window_offset = 0;  // of results in windows
  PackedFor packed_for = PackedFor::kCpu;
  std::string name() const;
};

/// The ops' kernels of one target.
struct KernelTarget {
  std::string name;
  CpuEntry entry[kGemmKernels];  // by op
};
/// The targets of this build that run here, best first.
std::vector<KernelTarget> kernel_targets();
/// cpu_amx over emulated tiles: runs everywhere, slowly.
KernelTarget emulated_amx();
/// One rank's memory and arguments for a case. Rewritten for every launch of it.
class GemmRank : public GemmMemory {
 public:
  GemmRank(TileWorld& world, const GemmCase& c, const GemmRun& run, int rank);

  /// Writes inputs and poisons outputs for a launch; `history` as in TileWorld::view.
  void prepare(const GemmWork& work, uint64_t history);
  /// The argument struct of the op's kernel, once prepared.
  const void* args() const;
  /// Runs the kernel's entry of `target`.
  void launch(const KernelTarget& target) const;

 private:
  void fill(const tw_tile_view& view);
  TileGrid grid() const;
  Operand operand_a() const;
  Operand operand_b() const;
  Epilogue epilogue(size_t first_row) const;
  RowNorm norm();

  TileWorld& world_;
  GemmRun run_;
  const int world_rank_;
  Placed spare_hidden_;
  std::vector<char> packed_memory_;
  char* packed_ = nullptr;
  std::vector<float> norm_rows_;
  GemmArgs gemm_{};
  AllGatherGemmArgs all_gather_{};
  GemmReduceScatterArgs reduce_scatter_{};
  GemmAllReduceArgs all_reduce_{};
  GemmAllToAllArgs all_to_all_{};
  AllReduceNormArgs all_reduce_norm_{};
  RowEpilogueArgs row_epilogue_{};
};

/// Packed weights of `b`, as tile/packed.h tells.
std::vector<char> packed_weights(PackedFor device, const Values& b, tw_type_t type);

/// Signal slots and bytes of data at each rank, and bytes of windows, that a case needs at most.
TileWorldShape room_for(const std::vector<GemmCase>& cases, int ranks, const GemmRun& run);

}  // namespace tw::test
