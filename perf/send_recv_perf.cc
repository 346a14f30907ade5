// Ping-pong between ranks 2k and 2k+1: the time is one way. A last odd rank looks on.
#include "perf/runner/backend.h"
#include "perf/runner/op.h"

namespace tw::perf {
namespace {

class SendRecv final : public WholeOp {
 public:
  const char* name() const override { return "send_recv"; }

  size_t send_elements(const Place& p) const override { return partner(p) < 0 ? 0 : p.count; }
  size_t recv_elements(const Place& p) const override { return partner(p) < 0 ? 0 : p.count; }
  bool has_in_place() const override { return false; }

  Source source(const Place& p, size_t element) const override { return {partner(p), element}; }

  void run(Backend& backend, const Call& call) const override {
    const int rank = backend.rank(), peer = partner({rank, backend.size(), 0, 0});
    if (peer < 0) return;
    if (rank < peer) {
      backend.send(call, peer);
      backend.recv(call, peer);
    } else {
      backend.recv(call, peer);
      backend.send(call, peer);
    }
  }
  double time_scale() const override { return 0.5; }

 private:
  static int partner(const Place& p) {
    const int peer = p.rank ^ 1;
    return peer < p.n ? peer : -1;
  }
};

}  // namespace

const Op& send_recv_op() {
  static const SendRecv op;
  return op;
}

}  // namespace tw::perf
