// All-gather: every rank gets all ranks' parts in rank order.
#include "perf/runner/backend.h"
#include "perf/runner/op.h"

namespace tw::perf {
namespace {

class AllGather final : public SplitOp {
 public:
  const char* name() const override { return "all_gather"; }

  size_t send_elements(const Place& p) const override { return p.count; }
  size_t recv_elements(const Place& p) const override { return all_parts(p); }
  size_t in_place_send(const Place& p) const override { return own_part(p); }

  Source source(const Place& p, size_t element) const override {
    return {static_cast<int>(element / p.count), element % p.count};
  }

  void run(Backend& backend, const Call& call) const override { backend.all_gather(call); }
};

}  // namespace

const Op& all_gather_op() {
  static const AllGather op;
  return op;
}

}  // namespace tw::perf
