#include "lib/device/thread.h"

#include <pthread.h>
#include <signal.h>

#include <system_error>
#include <utility>

#include "lib/base/error.h"

namespace tw {
namespace {

/// All signals blocked, for threads that are started meanwhile.
class BlockSignals {
 public:
  BlockSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  BlockSignals(const BlockSignals&) = delete;
  BlockSignals& operator=(const BlockSignals&) = delete;
  ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

std::thread start_thread(const char* name, std::function<void()> body) {
  const BlockSignals block;
  try {
    std::thread thread(std::move(body));
    pthread_setname_np(thread.native_handle(), name);
    return thread;
  } catch (const std::system_error& error) {
    fail(TW_ERROR_OUT_OF_RESOURCES, "starting thread \"%s\": %s", name, error.what());
  }
}

}  // namespace tw
