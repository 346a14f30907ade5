// All-reduce: every rank gets the reduction of all ranks' buffers.
#include "perf/runner/backend.h"
#include "perf/runner/op.h"

namespace tw::perf {
namespace {

class AllReduce final : public WholeOp {
 public:
  const char* name() const override { return "all_reduce"; }

  size_t send_elements(const Place& p) const override { return p.count; }
  size_t recv_elements(const Place& p) const override { return p.count; }

  Source source(const Place&, size_t element) const override {
    return {Source::kAllRanks, element};
  }

  void run(Backend& backend, const Call& call) const override { backend.all_reduce(call); }
  // Each byte is sent once for the reduction and once for its result, less the rank's own part.
  double bus_factor(int n) const override { return 2.0 * (n - 1) / n; }
  bool reduces() const override { return true; }
};

}  // namespace

const Op& all_reduce_op() {
  static const AllReduce op;
  return op;
}

}  // namespace tw::perf
