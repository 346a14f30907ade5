// What an instruction may rely on when its waits are over.
#pragma once

#include <vector>

#include "lib/program/bits.h"
#include "lib/program/program.h"

namespace tw {

/// A counter is known when all its raises of a launch are: by a wait for all of them, or because an
/// instruction that is known to be done knew it. `now` is of the same launch, `before` of the one
/// before it. On its own device an instruction knows all of the launch before, and what was known
/// there.
///
/// Instructions are taken in order, first all of them by `take_now`, then by `take_before`.
class Knowledge {
 public:
  explicit Knowledge(const Program& program) : program_(program), start_(devices()) {}

  /// Counters known to `instruction` from its waits.
  Bits now(int instruction) const;
  /// Whether the counters of `known` say that `instruction` is done.
  bool done(const Bits& known, int instruction) const;
  /// What is known of its counters includes what it knows.
  void take_now(int instruction);
  /// The same for a counter that is made when its raisers were taken.
  void add_counter(int counter, const std::vector<int>& raisers);

  /// Whether the device of what `instruction` accesses elsewhere knows of it when its launch ends.
  bool noticed(int instruction) const;

  /// Counters and devices of the launch before. Everything must have been taken by take_now.
  Bits before(int instruction) const;
  bool done_before(const Bits& known, int instruction) const;
  void take_before(int instruction);

 private:
  size_t devices() const { return static_cast<size_t>(program_.devices); }
  const Instruction& at(int i) const { return program_.instructions[static_cast<size_t>(i)]; }
  /// The bit of a counter; those of devices, all of whose instructions are done, come first.
  size_t bit(int counter) const { return devices() + static_cast<size_t>(counter); }
  bool waits_for_all(const Wait& wait) const {
    return wait.count >= program_.counters[static_cast<size_t>(wait.counter)].raises;
  }
  static Bits& grown(std::vector<Bits>& all, size_t i) {
    if (i >= all.size()) all.resize(i + 1);
    return all[i];
  }
  static void add(Bits& to, const std::vector<Bits>& all, size_t i) {
    if (i < all.size()) to.add(all[i]);
  }

  const Program& program_;
  std::vector<Bits> now_, before_;  // by counter: what its raisers know
  std::vector<Bits> start_;         // by device: what a launch on it begins with
};

}  // namespace tw
