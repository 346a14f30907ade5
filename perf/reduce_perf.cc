// Reduce: root gets the reduction of all ranks' buffers.
#include "perf/runner/backend.h"
#include "perf/runner/op.h"

namespace tw::perf {
namespace {

class Reduce final : public WholeOp {
 public:
  const char* name() const override { return "reduce"; }

  size_t send_elements(const Place& p) const override { return p.count; }
  size_t recv_elements(const Place& p) const override { return p.rank == p.root ? p.count : 0; }

  Source source(const Place&, size_t element) const override {
    return {Source::kAllRanks, element};
  }

  void run(Backend& backend, const Call& call) const override { backend.reduce(call); }
  bool reduces() const override { return true; }
  bool rooted() const override { return true; }
};

}  // namespace

const Op& reduce_op() {
  static const Reduce op;
  return op;
}

}  // namespace tw::perf
