// What a benchmark needs to know about a collective, apart from who carries it out: buffer sizes,
// where each received element comes from, and the call itself. One subclass per perf/<op>_perf.cc;
// the same subclass drives tilewire and every MPI (see backend.h).
#pragma once

#include <cstddef>

#include "tilewire.h"

namespace tw::perf {

class Backend;

// The arguments of one call, in NCCL's words. `count` is the op's own count argument.
struct Call {
  const void* send = nullptr;
  void* recv = nullptr;
  size_t count = 0;
  tw_type_t type = TW_FP32;
  tw_op_t redop = TW_SUM;
  int root = 0;
};

// Who asks, and with which count.
struct Place {
  int rank = 0;
  int n = 1;
  int root = 0;
  size_t count = 0;
};

// Where a received element comes from: element `index` of `rank`'s send buffer, or of every rank's
// when `rank` is kAllRanks.
struct Source {
  static constexpr int kAllRanks = -1;
  int rank = kAllRanks;
  size_t index = 0;
};

class Op {
 public:
  Op() = default;
  Op(const Op&) = delete;
  Op& operator=(const Op&) = delete;
  virtual ~Op() = default;

  virtual const char* name() const = 0;

  // The op's count argument for a message of `bytes` in nccl-tests' sense, and back.
  virtual size_t count(size_t bytes, size_t element, int n) const = 0;
  virtual size_t bytes(size_t count, size_t element, int n) const = 0;

  // Elements that this rank sends and receives.
  virtual size_t send_elements(const Place& place) const = 0;
  virtual size_t recv_elements(const Place& place) const = 0;

  // Element offsets of send and recv in the one buffer of an in-place call.
  virtual size_t in_place_send(const Place&) const { return 0; }
  virtual size_t in_place_recv(const Place&) const { return 0; }
  virtual bool has_in_place() const { return true; }

  virtual Source source(const Place& place, size_t element) const = 0;
  virtual void run(Backend& backend, const Call& call) const = 0;

  // busbw = algbw * bus_factor, as nccl-tests' PERFORMANCE.md derives it.
  virtual double bus_factor(int n) const = 0;
  // Time of one message over time of one iteration (a ping-pong carries two).
  virtual double time_scale() const { return 1; }
  virtual bool reduces() const { return false; }
  virtual bool rooted() const { return false; }
};

// A message that every rank holds whole (all_reduce, broadcast).
class WholeOp : public Op {
 public:
  size_t count(size_t bytes, size_t element, int) const override { return bytes / element; }
  size_t bytes(size_t count, size_t element, int) const override { return count * element; }
  double bus_factor(int) const override { return 1; }
};

// A message in one part per rank (all_gather, scatter): its size is that of all parts together, as
// in nccl-tests, and at least one element each. A rank's own part does not travel.
class SplitOp : public Op {
 public:
  size_t count(size_t bytes, size_t element, int n) const override {
    const size_t part = bytes / element / static_cast<size_t>(n);
    return part == 0 && bytes > 0 ? 1 : part;
  }
  size_t bytes(size_t count, size_t element, int n) const override {
    return count * element * static_cast<size_t>(n);
  }
  double bus_factor(int n) const override { return static_cast<double>(n - 1) / n; }

 protected:
  static size_t all_parts(const Place& p) { return p.count * static_cast<size_t>(p.n); }
  static size_t own_part(const Place& p) { return p.count * static_cast<size_t>(p.rank); }
};

#define TW_PERF_OP(op) const Op& op##_op();
#include "perf/runner/ops.def"
#undef TW_PERF_OP

// The op called `name`, or nullptr. `index` walks all of them: nullptr behind the last.
const Op* find_op(const char* name);
const Op* op_at(size_t index);

}  // namespace tw::perf
