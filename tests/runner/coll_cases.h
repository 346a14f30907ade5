// The collectives' case table: what a call moves, what it must produce, and a runner that checks
// one call on one rank. Every rank runs the same cases in the same order.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/runner/gpus.h"
#include "tests/runner/values.h"
#include "tilewire.h"
#include "tilewire/kernels/coll.h"

namespace tw::test {

enum class Memory {
  kPrivate,
  kWindow,
  kMixed,  // even ranks send from and receive into a window, odd ranks private memory
  kSplit,  // send in a window, recv private; the other way round on odd ranks
};

struct CollCase {
  CollOp call = kAllReduce;
  tw_type_t type = TW_FP32;
  tw_op_t op = TW_SUM;
  size_t count = 0;  // the op's own count; uneven forms derive each rank's from it
  int root = 0;
  bool in_place = false;
  int in_place_parity = -1;  // with in_place: on even (0) or odd (1) ranks only; -1 = on all
  Memory memory = Memory::kPrivate;
  size_t misalign = 0;   // bytes by which both buffers are off alignment
  double tolerance = 0;  // relative; 0 = the bytes must be equal
  bool scaled = false;   // a scaled sum with a factor of the rank
  bool gaps = false;     // uneven forms: displacements with holes, in descending order

  std::string name(int ranks) const;
};

/// Which elements a rank's buffers hold; counts and displacements of uneven forms.
struct Shape {
  Shape(const CollCase& c, int rank, int ranks);

  size_t send_count = 0, recv_count = 0;  // whole buffers; 0 where ignored
  std::vector<size_t> send_counts, send_displs, recv_counts, recv_displs;

  /// Where received element `index` comes from: element `at` of rank `from`'s send buffer, of every
  /// rank's when `from` is -1; from -2: not written.
  struct Source {
    int from;
    size_t at;
  };
  Source source(size_t index) const;

  /// Offset of the natural in-place position of the smaller buffer in the larger, in elements.
  size_t in_place_at = 0;

 private:
  Source uneven_source(size_t index) const;
  CollOp call_;
  int rank_, ranks_, root_;
  size_t count_;
  std::vector<std::vector<size_t>> all_displs_;  // all_to_all_v: every rank's send displacements
};

/// One rank's buffers for many cases: a window and private memory of the same size, of the comm's
/// device.
class CaseRunner {
 public:
  /// What a rank sent, by seed.
  using Inputs = std::map<uint64_t, std::vector<char>>;

  /// Collective. Cases may use up to `bytes` of send and as much of recv.
  CaseRunner(tw_comm_t comm, size_t bytes);
  ~CaseRunner();
  CaseRunner(const CaseRunner&) = delete;
  CaseRunner& operator=(const CaseRunner&) = delete;

  /// Takes what is to be sent from `inputs` where that has it, and adds it where not: for tests
  /// that run the same cases many times. Cases with the same seed send the same then.
  void reuse(Inputs* inputs) { inputs_ = inputs; }

  /// Fills, poisons, calls, checks outputs, surroundings and (out of place) the input. The first
  /// wrong element, or a failed call, becomes a test failure; false then.
  bool run(const CollCase& c, uint64_t seed = 1, tw_stream_t stream = nullptr);

  /// As `run` in three steps, so that several calls can be pending at once.
  bool start(const CollCase& c, uint64_t seed, tw_stream_t stream, size_t arena_offset = 0);
  bool finish();

  /// The received bytes of the last case, where written.
  std::vector<unsigned char> received() const;

 private:
  /// `host`: what lies at `at`, where the test reads and writes it; the same place on CPUs.
  struct Buffer {
    char* at;
    char* host;
    size_t bytes;
  };
  /// `bytes` of one kind of memory, and on GPUs a copy in host memory.
  struct Arena {
    char* at = nullptr;
    char* host = nullptr;
    std::vector<char> own;
  };
  void to_device();
  void to_host();
  void place(const CollCase& c, size_t offset);
  void fill(uint64_t seed);
  tw_status_t call(tw_stream_t stream);
  bool check_received();
  bool check_element(size_t index);
  bool check_surroundings();
  void sent(int rank, size_t index, void* element) const;
  Number input(int rank, size_t index) const;  // times its factor
  bool in_place() const;

  tw_comm_t comm_;
  int rank_ = 0, ranks_ = 0;
  size_t bytes_;
  tw_window_t window_ = nullptr;
  Arena window_arena_, private_arena_;
  std::unique_ptr<Gpu> gpu_;  // null on CPUs
  tw_stream_t stream_ = nullptr;
  CollCase case_;
  std::vector<Shape> shape_;  // of the current case: 0 or 1
  Buffer send_{}, recv_{};
  uint64_t seed_ = 0;
  Inputs* inputs_ = nullptr;
  tw_op_t scaled_ = TW_SUM;
  std::vector<Number> values_;  // of one element, by rank
};

/// The factor of `rank` in scaled cases, one element.
void scale_factor(tw_type_t type, int rank, void* out);

/// Ragged counts that exercise tails and chunk edges.
inline constexpr size_t kCounts[] = {0, 1, 3, 7, 8, 9, 63, 127, 1000, 4097};

/// The cases of one op: all types (and ops where it reduces) at small counts, then memory kinds,
/// alignments, in place and roots at ragged counts.
std::vector<CollCase> cases_of(CollOp call, int ranks);

/// Fewer: for many ranks.
std::vector<CollCase> few_cases_of(CollOp call, int ranks);

/// Runs cases on all ranks of a new comm of `n` threads.
void run_cases(int n, const std::vector<CollCase>& cases, size_t bytes = 1 << 20);

}  // namespace tw::test
