// One rank's matrices of a case: written for every launch, outputs poisoned, results checked.
#pragma once

#include <string>
#include <vector>

#include "tests/runner/gemm_cases.h"
#include "tests/runner/gpus.h"
#include "tilewire/tile/matrix.h"

namespace tw::test {

inline constexpr unsigned char kTilePoison = 0xff;  // NaN in every type

/// Whether a rank's results go to its window.
bool in_window(Placing placing, int rank);
/// Bytes of a window that results of a case need, at any alignment of its own.
size_t window_bytes_of(const GemmCase& c);

/// A GPU and memory of it, given out piece by piece and not freed before the end: freeing waits for
/// launches, and those may wait for a peer that waits for this rank.
class GpuArena {
 public:
  explicit GpuArena(int ordinal);
  GpuArena(const GpuArena&) = delete;
  GpuArena& operator=(const GpuArena&) = delete;
  ~GpuArena();

  Gpu& gpu() { return gpu_; }
  char* allocate(size_t bytes);
  /// All of it may be given out again.
  void clear() { used_ = 0; }

 private:
  Gpu gpu_;
  char* const memory_;
  size_t used_ = 0;
};

/// A matrix in poisoned memory with guards, stored by rows. With `gpu` it lies there, and what is
/// written and read here is a copy, which `send` and `fetch` move.
class Placed {
 public:
  Placed() = default;
  /// In `window` at `*offset` (which moves on), or in memory of its own when that is null.
  Placed(size_t rows, size_t cols, tw_type_t type, bool strided, char* window, size_t* offset,
         GpuArena* gpu = nullptr);

  bool none() const { return data_ == nullptr; }
  /// Where calls find it.
  char* data() const { return there_ == nullptr ? data_ : there_ + (data_ - begin_); }
  void send() const;
  void fetch();
  size_t stride() const { return stride_; }
  size_t window_offset() const { return window_offset_; }
  Matrix matrix() const { return {data(), stride_, type_}; }

  void poison();
  void write(const Values& values);             // as stored
  void write_transposed(const Values& values);  // `values` is the transpose of what is stored
  void read_row(size_t i, float* to) const;
  void append_to(std::vector<char>* bytes) const;  // row by row without gaps
  /// Whether nothing but the matrix has been written. Poisons the matrix.
  bool rest_is_poison();

 private:
  char* row(size_t i) const;

  size_t rows_ = 0, cols_ = 0, stride_ = 0, window_offset_ = 0, bytes_ = 0;
  tw_type_t type_ = TW_FP32;
  std::vector<char> own_;
  char* begin_ = nullptr;
  char* data_ = nullptr;
  GpuArena* gpu_ = nullptr;
  char* there_ = nullptr;  // on the GPU, where begin_ is here
};

class GemmMemory {
 public:
  /// Results lie in `window` from `offset` on where the case says so.
  GemmMemory(const GemmCase& c, int rank, int ranks, char* window, size_t offset = 0,
             GpuArena* gpu = nullptr);

  /// Writes inputs and poisons outputs for a launch.
  void write(const GemmWork& work);
  /// Adds a failure and returns false when something is not as it should be.
  bool check(const GemmWork& work, const std::string& what);
  /// Bytes of C and hidden, row by row without gaps.
  std::vector<char> results() const;

 protected:
  const GemmPart& part(const GemmWork& work) const {
    return work.parts[static_cast<size_t>(rank_)];
  }

  GemmCase c_;
  int rank_, ranks_;  // 0 and 1 where the op is of one rank
  std::vector<size_t> rows_, cols_;
  GpuArena* gpu_;  // null on CPUs
  Placed a_, b_, bias_, residual_, weight_, c_out_, hidden_, gathered_;

 private:
  bool check_matrix(Placed& got, const Values& want, double tolerance, const std::string& what);
};

}  // namespace tw::test
