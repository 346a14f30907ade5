// Which earlier instructions a later one must come after: those with an access to a part of the
// same memory where one of the two writes (read after write, write after read, write after write).
#pragma once

#include <functional>
#include <vector>

#include "lib/program/program.h"

namespace tw {

/// Takes the instructions of one or more launches in order. What lies behind a later write of the
/// same memory is not told again: whoever comes after the write comes after that as well. So of an
/// access only the part stays in mind that was not written since: however many launches and layers
/// there are, a tensor that is written again has about as many as it has tiles.
class Conflicts {
 public:
  explicit Conflicts(const Program& program);

  /// Tells `found` the conflicts of the next instruction, some more than once, then takes it in.
  void take(int instruction, int launch,
            const std::function<void(int instruction, int launch)>& found);

 private:
  struct Past {
    Region region;
    int instruction;
    int launch;
  };
  /// What a tensor of a device was accessed for. Readers do not look at one another.
  struct Pasts {
    std::vector<Past> reads, writes;
  };
  Pasts& pasts_of(const Region& region);
  static void forget_written(std::vector<Past>& pasts, const Region& region);

  const Program& program_;
  std::vector<Pasts> pasts_;  // of each device's tensors
};

}  // namespace tw
