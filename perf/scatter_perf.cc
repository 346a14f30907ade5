// Scatter: rank r gets part r of root's buffer.
#include "perf/runner/backend.h"
#include "perf/runner/op.h"

namespace tw::perf {
namespace {

class Scatter final : public SplitOp {
 public:
  const char* name() const override { return "scatter"; }

  size_t send_elements(const Place& p) const override {
    return p.rank == p.root ? all_parts(p) : 0;
  }
  size_t recv_elements(const Place& p) const override { return p.count; }
  size_t in_place_recv(const Place& p) const override { return own_part(p); }

  Source source(const Place& p, size_t element) const override {
    return {p.root, own_part(p) + element};
  }

  void run(Backend& backend, const Call& call) const override { backend.scatter(call); }
  bool rooted() const override { return true; }
};

}  // namespace

const Op& scatter_op() {
  static const Scatter op;
  return op;
}

}  // namespace tw::perf
