#include "lib/vgpu/sim/scheduler.h"

#include <algorithm>
#include <stdexcept>
#include <unordered_map>

#include "lib/vgpu/sim/block.h"

namespace tw::vgpu {
namespace {

constexpr int kQuantum = 64;          // ops
constexpr uint32_t kReluctance = 64;  // a slow one gets one turn in so many

class Uniform : public Scheduler {
 public:
  size_t pick(const std::vector<Warp*>& ready, Random& random) override {
    return random.below(ready.size());
  }
  int quantum(Random&) override { return kQuantum; }
};

/// One of a kind runs rarely: what the others may do before it comes gets done.
class Slow : public Scheduler {
 public:
  Slow(bool by_gpu, uint64_t seed) : by_gpu_(by_gpu), which_(Random(seed).below(kMaxGpus)) {}

  size_t pick(const std::vector<Warp*>& ready, Random& random) override {
    const size_t chosen = random.below(ready.size());
    if (!is_slow(*ready[chosen]) || random.below(kReluctance) == 0) return chosen;
    for (size_t i = 1; i < ready.size(); ++i) {
      const size_t other = (chosen + i) % ready.size();
      if (!is_slow(*ready[other])) return other;
    }
    return chosen;
  }
  int quantum(Random&) override { return kQuantum; }

 private:
  bool is_slow(const Warp& warp) const {
    const auto gpus = static_cast<uint32_t>(warp.block->gpu_count);
    return by_gpu_ ? static_cast<uint32_t>(warp.block->gpu) == which_ % gpus
                   : static_cast<uint32_t>(warp.index) == which_;
  }
  bool by_gpu_;
  uint32_t which_;
};

class Priority : public Scheduler {
 public:
  size_t pick(const std::vector<Warp*>& ready, Random& random) override {
    size_t best = 0;
    for (size_t i = 1; i < ready.size(); ++i)
      if (of(ready[i], random) > of(ready[best], random)) best = i;
    // A warp that spins would keep its priority for ever: the change points are frequent.
    if (random.below(kChange) == 0) priorities_[ready[best]] = lowest_--;
    return best;
  }
  int quantum(Random&) override { return kQuantum; }

 private:
  static constexpr uint32_t kChange = 16;
  int64_t of(const Warp* warp, Random& random) {
    const auto [at, is_new] = priorities_.try_emplace(warp, 0);
    if (is_new) at->second = static_cast<int64_t>(random.below(1 << 30));
    return at->second;
  }
  std::unordered_map<const Warp*, int64_t> priorities_;
  int64_t lowest_ = -1;
};

class Bounded : public Scheduler {
 public:
  size_t pick(const std::vector<Warp*>& ready, Random& random) override {
    return random.below(ready.size());
  }
  int quantum(Random& random) override { return random.below(8) == 0 ? 3 : 4096; }
};

}  // namespace

const char* const kSchedulerNames = "uniform priority slow_gpu slow_warp bounded";

std::unique_ptr<Scheduler> make_scheduler(const std::string& name, uint64_t seed) {
  if (name == "uniform") return std::make_unique<Uniform>();
  if (name == "priority") return std::make_unique<Priority>();
  if (name == "slow_gpu") return std::make_unique<Slow>(true, seed);
  if (name == "slow_warp") return std::make_unique<Slow>(false, seed);
  if (name == "bounded") return std::make_unique<Bounded>();
  throw std::invalid_argument("scheduler '" + name + "': valid are " + kSchedulerNames);
}

}  // namespace tw::vgpu
