#include "lib/program/derive.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "lib/program/conflicts.h"
#include "lib/program/knowledge.h"

namespace tw {
namespace {

class Derivation {
 public:
  explicit Derivation(Program* program) : program_(*program), knowledge_(program_) {}

  void run() {
    const int count = static_cast<int>(program_.instructions.size());
    Conflicts conflicts(program_);
    for (int i = 0; i < count; ++i) {
      wait_for(i, 0, conflicting(conflicts, i, 0));
      knowledge_.take_now(i);
    }
    for (int i = 0; i < count; ++i) {
      wait_for(i, 1, conflicting(conflicts, i, 1));
      knowledge_.take_before(i);
    }
  }

 private:
  /// The instructions of launch 0 that instruction i of `launch` must come after, the latest first.
  static std::vector<int> conflicting(Conflicts& conflicts, int i, int launch) {
    std::vector<int> found;
    conflicts.take(i, launch, [&](int other, int of) {
      if (of == 0) found.push_back(other);
    });
    std::sort(found.begin(), found.end(), std::greater<>());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
  }

  /// Makes instruction i wait for those of `others`, `launches_ago`, that it does not know of. The
  /// latest come first: they may know of the others.
  void wait_for(int i, int launches_ago, const std::vector<int>& others) {
    Bits known = launches_ago == 0 ? knowledge_.now(i) : knowledge_.before(i);
    std::map<std::pair<int, int>, std::vector<int>> needed;  // by device and op
    for (const int other : others) {
      if (launches_ago == 0 ? knowledge_.done(known, other) : knowledge_.done_before(known, other))
        continue;
      known.add(knowledge_.now(other));
      const Instruction& instruction = at(other);
      needed[{instruction.device, instruction.op}].push_back(other);
    }
    for (auto& [place, raisers] : needed) {
      std::reverse(raisers.begin(), raisers.end());
      const int counter = counter_of(raisers);
      Counter& meeting = program_.counters[static_cast<size_t>(counter)];
      at(i).waits.push_back({counter, meeting.raises, launches_ago});
      if (meeting.device != at(i).device) tell(&meeting, at(i).device);
    }
  }

  static void tell(Counter* counter, int device) {
    const auto at = std::lower_bound(counter->told.begin(), counter->told.end(), device);
    if (at == counter->told.end() || *at != device) counter->told.insert(at, device);
  }

  /// The counter that exactly `raisers` raise.
  int counter_of(const std::vector<int>& raisers) {
    const auto [place, is_new] =
        counters_.emplace(raisers, static_cast<int>(program_.counters.size()));
    if (!is_new) return place->second;
    program_.counters.push_back({at(raisers[0]).device, static_cast<uint32_t>(raisers.size()), {}});
    for (const int i : raisers) at(i).raises.push_back(place->second);
    knowledge_.add_counter(place->second, raisers);
    return place->second;
  }

  Instruction& at(int i) { return program_.instructions[static_cast<size_t>(i)]; }

  Program& program_;
  Knowledge knowledge_;
  std::map<std::vector<int>, int> counters_;
};

}  // namespace

void derive_waits(Program* program) { Derivation(program).run(); }

}  // namespace tw
