// Which warp runs next, and for how long: seeded, so that a run can be had again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/vgpu/sim/random.h"

namespace tw::vgpu {

struct Warp;

class Scheduler {
 public:
  virtual ~Scheduler() = default;
  /// Index of the warp of `ready`, which is not empty, that goes on now.
  virtual size_t pick(const std::vector<Warp*>& ready, Random& random) = 0;
  /// How many ops it may execute before the next choice.
  virtual int quantum(Random& random) = 0;
};

/// "uniform": every ready warp is as likely. "priority": the one of highest random priority, which
/// drops to the lowest at random moments (probabilistic concurrency testing). "slow_gpu": one GPU,
/// chosen by the seed, gets a 64th of its turns. "slow_warp": so do the warps of one number in
/// their blocks. "bounded": a warp runs until it yields, with few preemptions. Throws
/// std::invalid_argument for another name.
std::unique_ptr<Scheduler> make_scheduler(const std::string& name, uint64_t seed);

/// The names, for messages.
extern const char* const kSchedulerNames;

}  // namespace tw::vgpu
