// Trials that may end badly, each in a process of its own: several at a time. The parent must have
// no other threads.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <vector>

namespace tw::test {

/// Runs trial(i) for i = 0 .. n-1 in forked processes, `at_once` at a time, without their output;
/// the exit status of each: what trial(i) returned, or what ended it (128 + a signal's number).
template <class Trial>
std::vector<int> run_children(int n, int at_once, Trial trial) {
  std::vector<int> results(static_cast<size_t>(n), -1);
  std::map<pid_t, int> running;
  const auto reap = [&] {
    int status = 0;
    const pid_t pid = wait(&status);
    results[static_cast<size_t>(running.at(pid))] =
        WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    running.erase(pid);
  };
  for (int i = 0; i < n; ++i) {
    if (static_cast<int>(running.size()) == at_once) reap();
    const pid_t pid = fork();
    if (pid < 0) std::abort();
    if (pid == 0) {
      alarm(100);
      const int silent = open("/dev/null", O_WRONLY);
      if (std::getenv("TW_TEST_LOUD") == nullptr) {
        dup2(silent, STDOUT_FILENO);
        dup2(silent, STDERR_FILENO);
      }
      std::_Exit(trial(i));
    }
    running[pid] = i;
  }
  while (!running.empty()) reap();
  return results;
}

}  // namespace tw::test
