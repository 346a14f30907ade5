// A process that outlives a killed tw_run for a moment and ends what it left.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

namespace tw::run {

/// Knows the process groups of the ranks. When tw_run ends, however it ends, the groups that are
/// still known are killed: with kill -9 of tw_run no rank and no child of a rank is left.
class Guardian {
 public:
  /// Call it before there are threads. False, with errno, when there is no process for it.
  bool start() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    pid_ = fork();
    if (pid_ == 0) {
      close(ends[1]);
      watch(ends[0]);
    }
    close(ends[0]);
    pipe_ = ends[1];
    return pid_ > 0;
  }

  void add(pid_t group) { tell(group); }
  void remove(pid_t group) { tell(-group); }

  /// Ends it; the groups that it still knows die.
  void finish() {
    if (pid_ <= 0) return;
    close(pipe_);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }

 private:
  void tell(pid_t message) {
    // A pipe write of this size is whole or fails; a guardian that was killed cannot help any more.
    [[maybe_unused]] const ssize_t written = write(pipe_, &message, sizeof message);
  }

  [[noreturn]] static void watch(int pipe) {
    setpgid(0, 0);  // signals of the terminal are not for it
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    for (const int fd : {0, 1, 2})
      if (fd != pipe) close(fd);
    std::vector<pid_t> groups;
    pid_t message = 0;
    for (;;) {
      const ssize_t got = read(pipe, &message, sizeof message);
      if (got < 0 && errno == EINTR) continue;
      if (got != sizeof message) break;
      if (message > 0)
        groups.push_back(message);
      else
        groups.erase(std::remove(groups.begin(), groups.end(), -message), groups.end());
    }
    for (const pid_t group : groups) kill(-group, SIGKILL);
    _exit(0);
  }

  pid_t pid_ = -1;
  int pipe_ = -1;
};

}  // namespace tw::run
