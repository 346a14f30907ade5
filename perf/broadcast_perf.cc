// Broadcast: every rank gets root's buffer.
#include "perf/runner/backend.h"
#include "perf/runner/op.h"

namespace tw::perf {
namespace {

class Broadcast final : public WholeOp {
 public:
  const char* name() const override { return "broadcast"; }

  size_t send_elements(const Place& p) const override { return p.rank == p.root ? p.count : 0; }
  size_t recv_elements(const Place& p) const override { return p.count; }

  Source source(const Place& p, size_t element) const override { return {p.root, element}; }

  void run(Backend& backend, const Call& call) const override { backend.broadcast(call); }
  bool rooted() const override { return true; }
};

}  // namespace

const Op& broadcast_op() {
  static const Broadcast op;
  return op;
}

}  // namespace tw::perf
