// Ranks as threads of this process: ThreadSanitizer sees every one of them.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "tilewire.h"

namespace tw::test {

/// Sets an environment variable for the scope's life; "" unsets it.
class ScopedEnv {
 public:
  ScopedEnv(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) {
      had_ = true;
      old_ = old;
    }
    put(value);
  }
  ScopedEnv(const ScopedEnv&) = delete;
  ScopedEnv& operator=(const ScopedEnv&) = delete;
  ~ScopedEnv() { had_ ? put(old_) : put(""); }

 private:
  void put(const std::string& value) const {
    value.empty() ? unsetenv(name_) : setenv(name_, value.c_str(), 1);
  }
  const char* name_;
  bool had_ = false;
  std::string old_;
};

/// The ranks of one tw_comm_create_all.
class ThreadRanks {
 public:
  explicit ThreadRanks(int n, const tw_comm_config_t* config = nullptr) : comms_(n) {
    const tw_status_t status = tw_comm_create_all(n, config, comms_.data());
    if (status != TW_OK) {
      ADD_FAILURE() << "tw_comm_create_all(" << n << "): " << tw_last_error();
      std::abort();
    }
  }
  ThreadRanks(const ThreadRanks&) = delete;
  ThreadRanks& operator=(const ThreadRanks&) = delete;
  ~ThreadRanks() {
    for (tw_comm_t comm : comms_) EXPECT_EQ(tw_comm_destroy(comm), TW_OK) << tw_last_error();
  }

  int size() const { return static_cast<int>(comms_.size()); }
  tw_comm_t comm(int rank) const { return comms_[rank]; }
  const std::vector<tw_comm_t>& comms() const { return comms_; }

  /// Runs `body(rank, comm)` in one thread a rank and joins them.
  template <class Body>
  void run(Body body) const {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size(); ++rank)
      threads.emplace_back([&, rank] { body(rank, comms_[rank]); });
    for (std::thread& thread : threads) thread.join();
  }

 private:
  std::vector<tw_comm_t> comms_;
};

}  // namespace tw::test
