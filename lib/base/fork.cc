#include "lib/base/fork.h"

#include <pthread.h>

#include <mutex>

#include "lib/base/error.h"

namespace tw {

void watch_fork() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (pthread_atfork(nullptr, nullptr, [] { in_forked_child.store(true); }) != 0)
      fail(TW_ERROR_OUT_OF_MEMORY, "pthread_atfork failed");
  });
}

}  // namespace tw
