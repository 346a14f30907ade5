// Reduce-scatter: rank r gets part r of the reduction of all ranks' buffers.
#include "perf/runner/backend.h"
#include "perf/runner/op.h"

namespace tw::perf {
namespace {

class ReduceScatter final : public SplitOp {
 public:
  const char* name() const override { return "reduce_scatter"; }

  size_t send_elements(const Place& p) const override { return all_parts(p); }
  size_t recv_elements(const Place& p) const override { return p.count; }
  size_t in_place_recv(const Place& p) const override { return own_part(p); }

  Source source(const Place& p, size_t element) const override {
    return {Source::kAllRanks, own_part(p) + element};
  }

  void run(Backend& backend, const Call& call) const override { backend.reduce_scatter(call); }
  bool reduces() const override { return true; }
};

}  // namespace

const Op& reduce_scatter_op() {
  static const ReduceScatter op;
  return op;
}

}  // namespace tw::perf
