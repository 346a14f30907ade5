// Checks and times one case on one rank. Every rank constructs a GemmMeasure and calls its
// functions in the same order.
#pragma once

#include <cstdint>
#include <vector>

#include "perf/gemm/gemm_op.h"
#include "perf/runner/loops.h"

namespace tw::perf {

struct GemmCase {
  const GemmOp* op = nullptr;
  size_t m = 0, n = 0, k = 0;
  // Of the weights, used in turn; 0: so many that they take twice the last cache, over all ranks.
  int copies = 0;
};

struct GemmLoop {
  int iterations = 0;  // per batch; 0: enough for kBatchMicroseconds
  int warm = 1;        // iterations before the first batch
  int batches = 11;
};

// Microseconds of an iteration in each batch, on the slowest rank: the whole of it (fill, call,
// read), and the call alone.
struct GemmTimes {
  int iterations = 0;
  std::vector<double> whole, call;
};

class GemmMeasure {
 public:
  GemmMeasure(Backend& backend, Engine& engine) : backend_(backend), engine_(engine) {}

  // Runs the case once on known inputs into poisoned memory; the number of wrong or unwritten
  // elements over all ranks.
  uint64_t check(const GemmCase& c);

  // With `wrong`, adds the elements found wrong in the last iteration's result.
  GemmTimes time(const GemmCase& c, const GemmLoop& loop, uint64_t* wrong);

  // Whether the case would be carried out in one kernel.
  bool fuses(const GemmCase& c);

  // Gives the weights' memory back.
  void forget();

 private:
  // Memory in a window, where the library has them; it grows, and loses its contents then.
  struct Shared {
    char* at = nullptr;
    size_t bytes = 0;
  };
  struct Batch {
    double whole, call;
  };
  Problem problem(const GemmCase& c) const;
  void grow(Shared& memory, size_t bytes);
  void set_up(const GemmCase& c);
  void set_up_weights(const GemmCase& c);
  void set_up_norm(const GemmCase& c);
  GemmCall next_call(const GemmCase& c);
  Batch run_batch(const GemmCase& c, int iterations);
  uint64_t wrong_elements(const GemmCase& c, const Numbers& numbers) const;

  Backend& backend_;
  Engine& engine_;
  Shared a_, c_, hidden_;
  Private weights_, residual_, norm_weight_;
  std::vector<size_t> rows_;
  Product product_;
  int copies_ = 0;
  size_t stride_ = 0;  // from one copy of the weights to the next
  int turn_ = 0;       // which copy is next
};

}  // namespace tw::perf
