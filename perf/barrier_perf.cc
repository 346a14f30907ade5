// Barrier: no bytes; the time is all there is.
#include "perf/runner/backend.h"
#include "perf/runner/op.h"

namespace tw::perf {
namespace {

class Barrier final : public Op {
 public:
  const char* name() const override { return "barrier"; }

  size_t count(size_t, size_t, int) const override { return 0; }
  size_t bytes(size_t, size_t, int) const override { return 0; }
  size_t send_elements(const Place&) const override { return 0; }
  size_t recv_elements(const Place&) const override { return 0; }
  bool has_in_place() const override { return false; }

  Source source(const Place& p, size_t element) const override { return {p.rank, element}; }
  void run(Backend& backend, const Call&) const override { backend.barrier(); }
  double bus_factor(int) const override { return 1; }
};

}  // namespace

const Op& barrier_op() {
  static const Barrier op;
  return op;
}

}  // namespace tw::perf
