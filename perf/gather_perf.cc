// Gather: root gets all ranks' parts in rank order.
#include "perf/runner/backend.h"
#include "perf/runner/op.h"

namespace tw::perf {
namespace {

class Gather final : public SplitOp {
 public:
  const char* name() const override { return "gather"; }

  size_t send_elements(const Place& p) const override { return p.count; }
  size_t recv_elements(const Place& p) const override {
    return p.rank == p.root ? all_parts(p) : 0;
  }
  size_t in_place_send(const Place& p) const override { return own_part(p); }

  Source source(const Place& p, size_t element) const override {
    return {static_cast<int>(element / p.count), element % p.count};
  }

  void run(Backend& backend, const Call& call) const override { backend.gather(call); }
  bool rooted() const override { return true; }
};

}  // namespace

const Op& gather_op() {
  static const Gather op;
  return op;
}

}  // namespace tw::perf
