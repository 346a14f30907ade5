// All-to-all: part s of rank r's result is part r of rank s's buffer.
#include "perf/runner/backend.h"
#include "perf/runner/op.h"

namespace tw::perf {
namespace {

class AllToAll final : public SplitOp {
 public:
  const char* name() const override { return "all_to_all"; }

  size_t send_elements(const Place& p) const override { return all_parts(p); }
  size_t recv_elements(const Place& p) const override { return all_parts(p); }

  Source source(const Place& p, size_t element) const override {
    return {static_cast<int>(element / p.count), own_part(p) + element % p.count};
  }

  void run(Backend& backend, const Call& call) const override { backend.all_to_all(call); }
};

}  // namespace

const Op& all_to_all_op() {
  static const AllToAll op;
  return op;
}

}  // namespace tw::perf
