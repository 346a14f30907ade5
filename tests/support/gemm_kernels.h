// Cases of the GEMM table carried out by kernel entries: argument structs made by hand for one rank,
// over a TileWorld. Nothing here is the library's host code.
#pragma once

#include <string>
#include <vector>

#include "lib/device/device.h"
#include "tests/runner/gemm_cases.h"
#include "tests/support/tile_ranks.h"
#include "tilewire/kernels/gemm.h"

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
  size_t window_offset = 0;  // of results in windows
  std::string name() const;
};

/// The kernel of an op.
const KernelImage& kernel_of(GemmOp op);
/// Whether a rank's results go to its window.
bool in_window(Placing placing, int rank);

/// A matrix in poisoned memory with guards, stored by rows.
class Placed {
 public:
  Placed() = default;
  /// In `window` at `*offset` (which moves on), or in memory of its own when that is null.
  Placed(size_t rows, size_t cols, tw_type_t type, bool strided, char* window, size_t* offset);

  bool none() const { return data_ == nullptr; }
  char* data() const { return data_; }
  size_t stride() const { return stride_; }
  size_t window_offset() const { return window_offset_; }
  Matrix matrix() const { return {data_, stride_, type_}; }

  void poison();
  void write(const Values& values);             // as stored
  void write_transposed(const Values& values);  // `values` is the transpose of what is stored
  double read(size_t i, size_t j) const;
  void append_to(std::vector<char>* bytes) const;  // row by row without gaps
  /// Whether nothing but the matrix has been written. Poisons the matrix.
  bool rest_is_poison();

 private:
  size_t rows_ = 0, cols_ = 0, stride_ = 0, window_offset_ = 0, bytes_ = 0;
  tw_type_t type_ = TW_FP32;
  std::vector<char> own_;
  char* begin_ = nullptr;
  char* data_ = nullptr;
};

/// Packed weights of `b`, as tile/packed.h tells for CPUs.
std::vector<char> packed_for_cpu(const Values& b, tw_type_t type);

/// One rank's memory and arguments for a case. Rewritten for every launch of it.
class GemmRank {
 public:
  GemmRank(TileWorld& world, const GemmCase& c, const GemmRun& run, int rank);

  /// Writes inputs and poisons outputs for a launch; `history` as in TileWorld::view.
  void prepare(const GemmWork& work, uint64_t history);
  /// Runs the kernel's entry for `target`.
  void launch(CpuTarget target) const;
  /// Adds a failure and returns false when something is not as it should be.
  bool check(const GemmWork& work, const std::string& what);
  /// Bytes of C and hidden, row by row without gaps.
  std::vector<char> results() const;

  /// The argument struct of the op's kernel, once prepared.
  const void* args() const;

 private:
  void place();
  void fill(const tw_tile_view& view);
  bool check_matrix(Placed& got, const Values& want, double tolerance, const std::string& what);
  TileGrid grid() const;
  Operand operand_a() const;
  Operand operand_b() const;
  Epilogue epilogue(size_t first_row) const;
  RowNorm norm();

  TileWorld& world_;
  GemmCase c_;
  GemmRun run_;
  int rank_, ranks_;
  std::vector<size_t> rows_, cols_;
  Placed a_, b_, bias_, residual_, weight_, c_out_, hidden_, spare_hidden_, gathered_;
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

/// Signal slots and bytes of data at each rank, and bytes of windows, that a case needs at most.
TileWorldShape room_for(const std::vector<GemmCase>& cases, int ranks, const GemmRun& run);

}  // namespace tw::test
