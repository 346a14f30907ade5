#include "tests/support/coll_kernels.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <string>

#include "lib/device/kernels.h"
#include "tests/support/reference.h"

namespace tw::test {
namespace {

using Bytes = std::vector<unsigned char>;
constexpr unsigned char kPoison = 0xa5;
constexpr size_t kGuard = 96;

/// A plan worked out for `ranks` ranks: inputs, uneven counts, what must come out.
class Worked {
 public:
  Worked(const CollPlan& plan, int ranks) : plan(plan), ranks(ranks) {
    std::mt19937_64 random(plan.seed);
    for (int s = 0; s < ranks; ++s) {
      counts.emplace_back();
      for (int r = 0; r < ranks; ++r)
        counts.back().push_back(uneven() ? (random() % 4 == 0 ? 0 : random() % (plan.count + 1))
                                         : plan.count);
      factors.push_back(random());
    }
    // Counts of the forms that are uneven but equal on all ranks.
    if (plan.call == kAllGatherV || plan.call == kReduceScatterV)
      for (auto& row : counts) row = counts[0];
    for (int r = 0; r < ranks; ++r) {
      arriving.emplace_back();
      for (int s = 0; s < ranks; ++s)
        arriving[r].push_back(plan.call == kAllGatherV ? counts[0][s] : counts[s][r]);
    }
    for (int r = 0; r < ranks; ++r) input.push_back(noise(send_elements(r) * element(), random()));
    if (plan.call == kAllReduce || plan.call == kReduce || plan.call == kReduceScatter ||
        plan.call == kReduceScatterV)
      reduced = reduce(plan.type, plan.op, input, plan.scaled ? factors.data() : nullptr);
  }

  const CollPlan plan;
  const int ranks;
  std::vector<std::vector<size_t>> counts;    // [sender][receiver], in elements
  std::vector<std::vector<size_t>> arriving;  // [receiver][sender]
  std::vector<uint64_t> factors;
  std::vector<Bytes> input;
  Bytes reduced;  // of all inputs, for the ops that reduce

  size_t element() const { return bytes_of(plan.type); }
  bool uneven() const {
    return plan.call == kAllGatherV || plan.call == kReduceScatterV || plan.call == kAllToAllV;
  }
  size_t total(int sender) const {
    return std::accumulate(counts[sender].begin(), counts[sender].end(), size_t{0});
  }
  /// Elements that arrive at `r` before sender `s`'s.
  size_t before(int r, int s) const {
    size_t sum = 0;
    for (int i = 0; i < s; ++i) sum += plan.call == kAllGatherV ? counts[0][i] : counts[i][r];
    return sum;
  }
  size_t sent_before(int s, int r) const {
    return std::accumulate(counts[s].begin(), counts[s].begin() + r, size_t{0});
  }

  size_t send_elements(int r) const {
    switch (plan.call) {
      case kReduceScatter:
      case kAllToAll:
      case kReduceScatterV:
      case kAllToAllV:
        return total(r);
      case kScatter:
        return r == plan.root ? total(r) : 0;
      case kBroadcast:
        return r == plan.root ? plan.count : 0;
      case kAllGatherV:
        return counts[0][r];
      case kBarrier:
        return 0;
      default:
        return plan.count;
    }
  }

  size_t recv_elements(int r) const {
    switch (plan.call) {
      case kAllGather:
      case kAllGatherV:
      case kAllToAll:
      case kAllToAllV:
        return before(r, ranks);
      case kGather:
        return r == plan.root ? plan.count * ranks : 0;
      case kReduce:
        return r == plan.root ? plan.count : 0;
      case kReduceScatterV:
        return counts[0][r];
      case kBarrier:
        return 0;
      default:
        return plan.count;
    }
  }

  /// Where in `recv` the send buffer lies when in place, in elements; -1: `recv` lies in `send`.
  ptrdiff_t in_place_offset(int r) const {
    switch (plan.call) {
      case kAllGather:
      case kAllGatherV:
        return static_cast<ptrdiff_t>(before(r, r));
      case kGather:
        return static_cast<ptrdiff_t>(r * plan.count);
      default:
        return 0;
    }
  }
  size_t in_place_recv(int r) const {
    if (plan.call == kReduceScatter || plan.call == kReduceScatterV) return sent_before(r, r);
    return plan.call == kScatter ? r * plan.count : 0;
  }

  Bytes expected(int r) const {
    Bytes out;
    const auto append = [&](const Bytes& from, size_t begin, size_t elements) {
      out.insert(out.end(), from.begin() + begin * element(),
                 from.begin() + (begin + elements) * element());
    };
    switch (plan.call) {
      case kAllReduce:
      case kReduce:
      case kReduceScatter:
      case kReduceScatterV:
        append(reduced,
               plan.call == kReduceScatter || plan.call == kReduceScatterV ? sent_before(r, r) : 0,
               recv_elements(r));
        break;
      case kBroadcast:
        out = input[plan.root];
        break;
      case kScatter:
        append(input[plan.root], r * plan.count, plan.count);
        break;
      case kAllGather:
      case kAllGatherV:
        for (int s = 0; s < ranks; ++s) out.insert(out.end(), input[s].begin(), input[s].end());
        break;
      case kGather:
        for (int s = 0; s < ranks && r == plan.root; ++s) append(input[s], 0, plan.count);
        break;
      case kAllToAll:
      case kAllToAllV:
        for (int s = 0; s < ranks; ++s) append(input[s], sent_before(s, r), counts[s][r]);
        break;
      default:
        break;
    }
    return out;
  }
};

/// One rank's buffers for one call: guarded and poisoned, in its window or in private memory.
class Buffers {
 public:
  Buffers(World& world, const Worked& work, int rank) : work_(work), rank_(rank) {
    const size_t e = work.element();
    const size_t send_bytes = work.input[rank].size();
    recv_bytes_ = work.recv_elements(rank) * e;
    in_window_ = work.plan.memory == CollMemory::kWindow ||
                 (work.plan.memory == CollMemory::kMixed && (work.plan.seed + rank) % 2 == 0);
    const size_t skew = kGuard + work.plan.seed % 3 * e;
    private_.assign(2 * (send_bytes + recv_bytes_ + 3 * kGuard), kPoison);
    base_ = in_window_ ? reinterpret_cast<unsigned char*>(world.window(rank)) : private_.data();
    if (in_window_) std::memset(base_, kPoison, private_.size());
    if (!work.plan.in_place) {
      send_ = base_ + skew;
      recv_ = send_ + send_bytes + kGuard;
    } else if (work.send_elements(rank) > work.recv_elements(rank)) {
      send_ = base_ + skew;
      recv_ = send_ + work.in_place_recv(rank) * e;
    } else {
      recv_ = base_ + skew;
      send_ = recv_ + work.in_place_offset(rank) * static_cast<ptrdiff_t>(e);
    }
    if (send_bytes != 0) std::memcpy(send_, work.input[rank].data(), send_bytes);
  }

  CollArgs args(const World& world, const CommView& view) const {
    const CollPlan& plan = work_.plan;
    CollArgs args{};
    args.comm = view;
    args.call = plan.call;
    args.algo = plan.algo;
    args.store = plan.store;
    args.reduction = {plan.type, plan.op, plan.scaled, plan.scaled ? work_.factors[rank_] : 0};
    args.digest =
        static_cast<uint16_t>(plan.seed + plan.digest_step * static_cast<unsigned>(rank_));
    args.root = plan.root;
    args.count = plan.count;
    args.element = work_.element();
    args.chunk = plan.chunk;
    args.send = send_;
    args.recv = recv_;
    if (work_.uneven()) {
      args.send_counts = work_.counts[rank_].data();
      args.recv_counts = work_.arriving[rank_].data();
    }
    if (in_window_) {
      args.send_at = world.window_at(rank_, send_ - base_);
      args.recv_at = world.window_at(rank_, recv_ - base_);
    }
    return args;
  }

  void check(const std::string& what) const {
    const Bytes expected = work_.expected(rank_);
    ASSERT_EQ(expected.size(), recv_bytes_) << what;
    for (size_t i = 0; i < recv_bytes_; ++i)
      ASSERT_EQ(recv_[i], expected[i]) << what << ": byte " << i << " of " << recv_bytes_;
    const unsigned char* end = recv_ + recv_bytes_;
    const bool send_behind = send_ >= recv_ && work_.plan.in_place;
    for (size_t i = 0; i < kGuard && !send_behind && !work_.plan.in_place; ++i)
      ASSERT_EQ(end[i], kPoison) << what << ": written past the end";
    for (size_t i = 1; i <= kGuard / 2 && !work_.plan.in_place; ++i)
      ASSERT_EQ(recv_[-static_cast<ptrdiff_t>(i)], kPoison) << what << ": written before";
    if (work_.plan.in_place) return;
    ASSERT_TRUE(work_.input[rank_].empty() ||
                std::memcmp(send_, work_.input[rank_].data(), work_.input[rank_].size()) == 0)
        << what << ": the input changed";
  }

 private:
  const Worked& work_;
  int rank_;
  bool in_window_ = false;
  size_t recv_bytes_ = 0;
  Bytes private_;
  unsigned char* base_ = nullptr;
  unsigned char* send_ = nullptr;
  unsigned char* recv_ = nullptr;
};

std::string describe(const CollPlan& p, int ranks, int blocks) {
  return "call " + std::to_string(p.call) + " algo " + std::to_string(static_cast<int>(p.algo)) +
         " memory " + std::to_string(static_cast<int>(p.memory)) + " store " +
         std::to_string(static_cast<int>(p.store)) + " type " + name_of(p.type) + " op " +
         std::to_string(p.op) + (p.scaled ? " scaled" : "") + (p.in_place ? " in place" : "") +
         " root " + std::to_string(p.root) + " count " + std::to_string(p.count) + " chunk " +
         std::to_string(p.chunk) + " ranks " + std::to_string(ranks) + " blocks " +
         std::to_string(blocks);
}

const KernelImage& kernel_of(CollOp call) {
  switch (call) {
    case kAllReduce:
      return kernels::all_reduce;
    case kReduce:
      return kernels::reduce;
    case kBroadcast:
      return kernels::broadcast;
    case kReduceScatter:
    case kReduceScatterV:
      return kernels::reduce_scatter;
    case kAllToAll:
    case kAllToAllV:
      return kernels::all_to_all;
    case kGather:
      return kernels::gather;
    case kScatter:
      return kernels::scatter;
    case kBarrier:
      return kernels::barrier;
    default:
      return kernels::all_gather;
  }
}

CpuEntry cpu_entry(CollOp call) {
  const KernelImage& image = kernel_of(call);
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return image.cpu[static_cast<int>(CpuTarget::kAvx512)];
#endif
  return image.cpu[static_cast<int>(CpuTarget::kPortable)];
}

}  // namespace

CollEntries cpu_coll_entries() { return cpu_entry; }

tw_status_t run_plans(const WorldShape& shape, const std::vector<CollPlan>& plans,
                      bool block_threads, const CollEntries& entries) {
  World world(shape);
  std::vector<Worked> work;
  work.reserve(plans.size());
  for (const CollPlan& plan : plans) work.emplace_back(plan, shape.ranks);
  world.run([&](int rank) {
    for (const Worked& w : work) {
      const Buffers buffers(world, w, rank);
      const CollArgs args = buffers.args(world, world.view(rank));
      World::launch(entries(w.plan.call), &args, shape.blocks, block_threads);
      if (world.failure() != TW_OK) return;
      // A peer may still read a window until it has left the call too; the next call in this test
      // rewrites the same window, which a user may do only when the call is over: it is.
      buffers.check("rank " + std::to_string(rank) + " " +
                    describe(w.plan, shape.ranks, shape.blocks));
      if (::testing::Test::HasFatalFailure()) {
        world.stop();
        return;
      }
    }
  });
  return world.failure();
}

WorldShape coll_shape(int ranks, int blocks) {
  return {.ranks = ranks,
          .blocks = blocks,
          .packet_bytes = 8192,
          .slot_bytes = 8192,
          .staging_bytes = size_t{1} << 17,
          .window_bytes = size_t{1} << 20};
}

size_t most_elements(const WorldShape& shape, const CollPlan& plan, const Framing& framing) {
  const CommLayout layout = comm_layout(shape.ranks, shape.blocks, 128, shape.packet_bytes,
                                        shape.slot_bytes, shape.staging_bytes, 0);
  const size_t limit = message_limit(layout, framing, plan.algo, plan.call);
  return std::min<size_t>(limit, 12000) / bytes_of(plan.type);
}

bool is_valid(CollOp call, CollAlgo algo) {
  return call != kAllToAllV || algo == CollAlgo::kDirect;
}

/// In place for uneven all-to-all needs symmetric counts; the generator has none.
bool can_be_in_place(CollOp call) { return call != kAllToAllV; }

CollPlan random_plan(std::mt19937_64& random, const WorldShape& shape, const Framing& framing) {
  CollPlan plan;
  do {
    plan.call = static_cast<CollOp>(random() % kCollectives);
    plan.algo = kCollAlgos[random() % 4];
  } while (!is_valid(plan.call, plan.algo));
  plan.store = random() % 3 == 0 ? StorePolicy::kNonTemporal : StorePolicy::kPlain;
  plan.memory = static_cast<CollMemory>(random() % 3);
  plan.type = static_cast<tw_type_t>(random() % kAllTypes);
  plan.op = kAllOps[random() % 5];
  plan.scaled = plan.op == TW_SUM && random() % 3 == 0;
  plan.in_place = random() % 2 == 0 && can_be_in_place(plan.call);
  plan.root = static_cast<int>(random() % shape.ranks);
  plan.chunk = random() % 2 == 0 ? 0 : 64 + random() % 5 * 448;
  plan.seed = random();
  const size_t most = most_elements(shape, plan, framing);
  plan.count = random() % 3 == 0 ? random() % 9 : random() % (most + 1);
  return plan;
}

}  // namespace tw::test
