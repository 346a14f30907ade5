// Ctrl-C as a wish that a program looks at between steps.
#pragma once

#include <csignal>

namespace tw::cli {

/// SIGINT and SIGTERM are noted from here on; a second one ends the process as ever.
class Interrupt {
 public:
  static void listen() {
    struct sigaction action = {};
    action.sa_handler = [](int) { wanted_ = 1; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);  // and reads that wait come back
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
  }
  static bool wanted() { return wanted_ != 0; }

 private:
  static inline volatile std::sig_atomic_t wanted_ = 0;
};

}  // namespace tw::cli
