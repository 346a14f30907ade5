// Notices that a peer's socket hung up. One thread for all comms of this process; it lives as long
// as something is watched.
#pragma once

#include <functional>
#include <memory>

namespace tw::net {

class Monitor {
 public:
  /// Called once, in the monitor's thread, when the socket hangs up. Must not block.
  using OnHangUp = std::function<void()>;

  /// Ends the watch. After that the callback does not run and is not running.
  class Watch {
   public:
    virtual ~Watch() = default;
  };

  /// Watches `fd`, which must stay open as long as the Watch lives.
  static std::unique_ptr<Watch> watch(int fd, OnHangUp on_hang_up);
};

}  // namespace tw::net
