// What a kernel did wrong: ends the launch and, as on the chip, everything that comes after it.
#pragma once

#include <stdexcept>
#include <string>

namespace tw::vgpu {

/// Kinds of faults; the driver has an error code for each.
enum class FaultKind : unsigned char {
  kIllegalAddress,
  kMisalignedAddress,
  kIllegalInstruction,
  kTrap,
  kDeadlock,
  kBadLaunch,
};

class Fault : public std::runtime_error {
 public:
  Fault(FaultKind kind, const std::string& sentence) : std::runtime_error(sentence), kind_(kind) {}
  FaultKind kind() const { return kind_; }

 private:
  FaultKind kind_;
};

}  // namespace tw::vgpu
