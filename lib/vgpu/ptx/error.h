// What is wrong with a PTX text, and where.
#pragma once

#include <stdexcept>
#include <string>

namespace tw::vgpu::ptx {

/// "line N: sentence". Thrown by all of ptx/ and by the decoder.
class Error : public std::runtime_error {
 public:
  Error(int line, const std::string& sentence)
      : std::runtime_error("PTX line " + std::to_string(line) + ": " + sentence), line_(line) {}
  int line() const { return line_; }

 private:
  int line_;
};

}  // namespace tw::vgpu::ptx
