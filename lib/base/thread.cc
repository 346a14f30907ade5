#include "lib/base/thread.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <system_error>
#include <utility>

#include "lib/base/error.h"

namespace tw {
namespace {

#if defined(TW_SANITIZE_THREAD)
constexpr int kSanitizerThreads = 1;  // its background thread
#else
constexpr int kSanitizerThreads = 0;
#endif

/// Library threads that are alive. A thread counts itself while the kernel counts it too, so that
/// the program's threads are never taken for fewer than they are.
std::atomic<int> g_library_threads{0};
std::atomic<int> g_pending{0};
thread_local bool t_of_library = false;

/// Threads of this process by the kernel's count; 0 when it cannot be read.
int process_threads() {
  DIR* tasks = opendir("/proc/self/task");
  if (tasks == nullptr) return 0;
  int count = 0;
  while (const dirent* entry = readdir(tasks)) count += entry->d_name[0] != '.' ? 1 : 0;
  closedir(tasks);
  return count;
}

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
    std::thread thread([body = std::move(body)] {
      t_of_library = true;
      g_library_threads.fetch_add(1);
      body();
      g_library_threads.fetch_sub(1);
    });
    pthread_setname_np(thread.native_handle(), name);
    return thread;
  } catch (const std::system_error& error) {
    fail(TW_ERROR_OUT_OF_RESOURCES, "starting thread \"%s\": %s", name, error.what());
  }
}

PendingWork::PendingWork() { g_pending.fetch_add(1); }
PendingWork::~PendingWork() { g_pending.fetch_sub(1); }

bool nobody_else_can_call() {
  if (t_of_library || g_pending.load() != 0) return false;
  // Threads may come and go meanwhile: counted before and after, the library's are not too many.
  const int before = g_library_threads.load();
  const int threads = process_threads() - kSanitizerThreads;
  return threads > 0 && threads - std::min(before, g_library_threads.load()) <= 1;
}

}  // namespace tw
