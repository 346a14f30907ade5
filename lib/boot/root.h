// The root of a set-up: listens for the ranks of one id in a thread of its own, drops strangers,
// and relays what the ranks exchange.
#pragma once

#include <memory>

#include "lib/base/deadline.h"
#include "lib/boot/id.h"

namespace tw::boot {

class Root {
 public:
  virtual ~Root() = default;

  /// Listens at new ports of TW_BOOT_INTERFACE and fills in id->port and id->addresses. The root
  /// ends when its comm is set up, or when nobody came before `deadline`.
  static void start(Id* id, Deadline deadline);

  /// Listens at id.host, for rank 0. A failed set-up of this process that still answers late ranks
  /// there makes way. False when somebody else listens there. Throws SYSTEM when the place cannot
  /// be had at all.
  static bool start_at(const Id& id, Deadline deadline);

  /// Calls the set-up off whose id has this secret, if its root lives in this process and not all
  /// ranks have arrived.
  static void give_up(const Secret& secret);

  /// The root of the id with this secret, if it lives in this process.
  static std::shared_ptr<Root> find(const Secret& secret);

  /// Roots that live in this process.
  static int alive();

  /// Waits, a second at most, until everything the root has to say was handed to the system: a
  /// process that ends now takes nothing away from its peers.
  virtual void flush() = 0;
};

}  // namespace tw::boot
