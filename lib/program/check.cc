#include "lib/program/check.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/program/conflicts.h"
#include "lib/program/knowledge.h"

namespace tw {
namespace {

[[noreturn]] void refuse(const std::string& why) {
  fail(TW_ERROR_INVALID_ARGUMENT, "program refused: %s", why.c_str());
}

class Check {
 public:
  explicit Check(const Program& program) : program_(program), knowledge_(program) {}

  void run() {
    if (program_.devices < 1) refuse(text("%d devices; valid: at least 1", program_.devices));
    for (int i = 0; i < count(); ++i) names(i);
    counters();
    for (int i = 0; i < count(); ++i) reachable(i);
    ordered();
  }

 private:
  int count() const { return static_cast<int>(program_.instructions.size()); }
  const Instruction& at(int i) const { return program_.instructions[static_cast<size_t>(i)]; }
  std::string name(int i) const { return program_.name_of(i); }
  const Counter* counter(int c) const {
    return c < 0 || static_cast<size_t>(c) >= program_.counters.size()
               ? nullptr
               : &program_.counters[static_cast<size_t>(c)];
  }

  void is_device(int device, const std::string& whose) const {
    if (device < 0 || device >= program_.devices)
      refuse(
          text("%s names device %d; valid: 0 to %d", whose.c_str(), device, program_.devices - 1));
  }

  /// That what instruction i names is there.
  void names(int i) const {
    is_device(at(i).device, name(i));
    for (const Access& access : at(i).accesses) {
      const Region& r = access.region;
      is_device(r.device, name(i));
      if (r.tensor < 0 || static_cast<size_t>(r.tensor) >= program_.tensors.size())
        refuse(text("%s names tensor %d; valid: 0 to %zu", name(i).c_str(), r.tensor,
                    program_.tensors.size() - 1));
      const ProgramTensor& tensor = program_.tensors[static_cast<size_t>(r.tensor)];
      if (!Region{r.device, r.tensor, 0, tensor.rows, 0, tensor.cols}.covers(r))
        refuse(
            text("%s %s rows %zu + %zu, columns %zu + %zu of %s, which has %zu rows and %zu "
                 "columns",
                 name(i).c_str(), access.writes ? "writes" : "reads", r.row, r.rows, r.col, r.cols,
                 tensor.name.c_str(), tensor.rows, tensor.cols));
    }
    for (const int c : at(i).raises)
      if (counter(c) == nullptr || counter(c)->device != at(i).device)
        refuse(text("%s raises counter %d, which is not one of its device", name(i).c_str(), c));
    for (const Wait& wait : at(i).waits)
      if (counter(wait.counter) == nullptr || wait.launches_ago < 0 || wait.launches_ago > 1)
        refuse(text("%s waits for counter %d of %d launches ago; valid: 0 to %zu, 0 or 1",
                    name(i).c_str(), wait.counter, wait.launches_ago,
                    program_.counters.size() - 1));
  }

  void counters() {
    raised_.assign(program_.counters.size(), 0);
    for (int i = 0; i < count(); ++i)
      for (const int c : at(i).raises) ++raised_[static_cast<size_t>(c)];
    for (size_t c = 0; c < program_.counters.size(); ++c)
      if (raised_[c] != program_.counters[c].raises)
        refuse(text("counter %zu is raised %u times; it is said to be %u times", c, raised_[c],
                    program_.counters[c].raises));
    raised_.assign(program_.counters.size(), 0);
  }

  /// That instruction i waits for what has been raised by then, where it can see it.
  void reachable(int i) {
    for (const Wait& wait : at(i).waits) {
      const Counter& c = *counter(wait.counter);
      const uint32_t most =
          wait.launches_ago == 0 ? raised_[static_cast<size_t>(wait.counter)] : c.raises;
      if (wait.count > most)
        refuse(text("%s waits for %u raises of counter %d; %u come before it", name(i).c_str(),
                    wait.count, wait.counter, most));
      if (c.device != at(i).device &&
          std::find(c.told.begin(), c.told.end(), at(i).device) == c.told.end())
        refuse(text("%s waits for counter %d of device %d, which does not tell device %d",
                    name(i).c_str(), wait.counter, c.device, at(i).device));
    }
    for (const int c : at(i).raises) ++raised_[static_cast<size_t>(c)];
  }

  void ordered() {
    Conflicts conflicts(program_);
    for (int i = 0; i < count(); ++i) {
      const Bits known = knowledge_.now(i);
      conflicts.take(i, 0, [&](int other, int /*launch*/) {
        if (!knowledge_.done(known, other))
          refuse(text("%s does not wait for %s, whose memory it shares", name(i).c_str(),
                      name(other).c_str()));
      });
      knowledge_.take_now(i);
    }
    for (int i = 0; program_.meets && i < count(); ++i)
      if (!knowledge_.noticed(i))
        refuse(
            text("%s accesses another device's memory, and nothing there waits for it in the "
                 "same launch",
                 name(i).c_str()));
    for (int i = 0; i < count(); ++i) {
      const Bits known = knowledge_.before(i);
      conflicts.take(i, 1, [&](int other, int launch) {
        if (launch == 0 && !knowledge_.done_before(known, other))
          refuse(text("%s does not wait for %s of the launch before, whose memory it shares",
                      name(i).c_str(), name(other).c_str()));
      });
      knowledge_.take_before(i);
    }
  }

  const Program& program_;
  Knowledge knowledge_;
  std::vector<uint32_t> raised_;  // by counter, so far
};

}  // namespace

void check_program(const Program& program) { Check(program).run(); }

}  // namespace tw
