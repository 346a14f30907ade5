// Checks and times one case on one rank. Every rank constructs a Measure with equal arguments and
// calls its functions in the same order.
#pragma once

#include <cstdint>
#include <vector>

#include "perf/runner/backend.h"
#include "perf/runner/loops.h"

namespace tw::perf {

struct Case {
  const Op* op = nullptr;
  size_t bytes = 0;  // as the user asked; the op may round it down to whole elements
  tw_type_t type = TW_FP32;
  tw_op_t redop = TW_SUM;
  int root = 0;
  bool in_place = false;
};

struct Loop {
  int iterations = 0;  // per batch; 0: enough for kBatchMicroseconds, see iterations_for
  int warm = 1;        // iterations before the first batch
  int batches = 11;
  bool raw = false;     // the call alone, without producing its input and reading its output
  bool queued = false;  // calls go to a stream; implies raw, one synchronise a batch
};

class Measure {
 public:
  // Room for messages of `max_bytes`; batches go through `rotate` sets of buffers in turn.
  Measure(Backend& backend, size_t max_bytes, Memory memory, int rotate);

  // Runs the case once on known inputs; the number of wrong elements over all ranks. Outputs are
  // poisoned before, and the values are exact in every type, so that bytes are compared.
  uint64_t check(const Case& c);

  // Microseconds of one message in each batch: the mean of the batch's iterations on the slowest
  // rank. With `wrong`, adds the elements found wrong in a sample of the last iteration's output.
  std::vector<double> time(const Case& c, const Loop& loop, uint64_t* wrong);

  // Iterations that fill about `batch_us`, equal on all ranks.
  int iterations_for(const Case& c, const Loop& loop, double batch_us);

 private:
  struct Buffers {
    char* send;
    char* recv;
    size_t send_bytes;
    size_t recv_bytes;
  };
  Place place(const Case& c) const;
  Buffers buffers(const Case& c, int set) const;
  Call call(const Case& c, const Buffers& b) const;
  double run_batch(const Case& c, const Loop& loop, int iterations, int set);
  uint64_t sample_wrong(const Case& c, int iterations, int set) const;

  Backend& backend_;
  size_t capacity_;
  int rotate_;
  char* memory_;
};

}  // namespace tw::perf
