// Queues: order, errors, draining, and the one order of launches on a device.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/error.h"
#include "lib/device/device.h"
#include "tests/runner/ranks.h"
#include "tilewire.h"

namespace {

using namespace std::chrono_literals;
using tw::Device;
using tw::test::ThreadRanks;

class Queue {
 public:
  Queue() { EXPECT_EQ(tw_stream_create(nullptr, &stream_), TW_OK) << tw_last_error(); }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  ~Queue() {
    if (stream_ != nullptr) destroy();
  }
  void destroy() {
    EXPECT_EQ(tw_stream_destroy(stream_), TW_OK) << tw_last_error();
    stream_ = nullptr;
  }
  tw_stream_t get() const { return stream_; }

 private:
  tw_stream_t stream_ = nullptr;
};

bool said(const std::string& part) {
  return std::string(tw_last_error()).find(part) != std::string::npos;
}

// ---- The device's order ----

TEST(Order, WorkRunsInIssueOrderAcrossStreams) {
  const std::shared_ptr<Device> device = tw::create_cpu_device(1);
  const Queue queues[3];
  std::vector<int> done;  // only one piece of work runs at a time
  for (int i = 0; i < 300; ++i) {
    device->issue(queues[i % 3].get(), [&done, i] {
      if (i % 50 == 0) std::this_thread::sleep_for(1ms);
      done.push_back(i);
      return TW_OK;
    });
  }
  device->issue(nullptr, [&done] {
    done.push_back(300);
    return TW_OK;
  });
  ASSERT_EQ(done.size(), 301u);
  for (int i = 0; i <= 300; ++i) EXPECT_EQ(done[static_cast<size_t>(i)], i);
  EXPECT_TRUE(device->idle());
}

TEST(Order, InlineWorkWaitsForWhatWasQueuedBefore) {
  const std::shared_ptr<Device> device = tw::create_cpu_device(1);
  const Queue queue;
  std::atomic<bool> first{false};
  device->issue(queue.get(), [&first] {
    std::this_thread::sleep_for(20ms);
    first = true;
    return TW_OK;
  });
  EXPECT_FALSE(device->idle());
  bool seen = false;
  EXPECT_EQ(device->issue(nullptr,
                          [&] {
                            seen = first;
                            return TW_ERROR_ABORTED;
                          }),
            TW_ERROR_ABORTED);
  EXPECT_TRUE(seen);
}

TEST(Order, AnIdleDeviceHandsOverWhatItsQueuesDid) {
  const std::shared_ptr<Device> device = tw::create_cpu_device(1);
  const Queue queue;
  int made = 0;  // plain: ThreadSanitizer sees that idle() alone orders it
  for (int i = 1; i <= 20; ++i) {
    device->issue(queue.get(), [&made, i] {
      made = i;
      return TW_OK;
    });
    while (!device->idle()) std::this_thread::yield();
    EXPECT_EQ(made, i);
  }
}

TEST(Order, ThreadsThatShareAStreamNeverBlockEachOther) {
  const std::shared_ptr<Device> device = tw::create_cpu_device(1);
  const Queue queues[2];
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        device->issue(i % 7 == 0 ? nullptr : queues[(i + t) % 2].get(), [&done] {
          ++done;
          return TW_OK;
        });
      }
    });
  for (std::thread& thread : threads) thread.join();
  device->drain();
  EXPECT_EQ(done, 2000);
}

TEST(Order, DrainDoesNotWaitForWhatIsQueuedLater) {
  const std::shared_ptr<Device> device = tw::create_cpu_device(1);
  const Queue queue;
  std::atomic<bool> drained{false};
  std::atomic<int> last{0};
  // Each piece of work queues the next one: until it is drained, something is queued all the time.
  std::function<tw_status_t()> work = [&] {
    last.fetch_add(1);
    if (!drained) device->issue(queue.get(), work);
    std::this_thread::sleep_for(1ms);
    return TW_OK;
  };
  const auto begin = std::chrono::steady_clock::now();
  std::thread limit([&] {
    for (int i = 0; i < 5000 && !drained; ++i) std::this_thread::sleep_for(1ms);
    drained = true;
  });
  device->issue(queue.get(), work);
  device->drain();
  EXPECT_GE(last.load(), 1);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 4s);
  drained = true;
  limit.join();
  device->drain();
}

TEST(Order, AnErrorIsItsOwnersAndTheStreams) {
  const std::shared_ptr<Device> device = tw::create_cpu_device(1);
  const Queue queue;
  const int mine = 0, others = 0;
  const auto failing = [](const char* why) {
    return [why]() -> tw_status_t { throw tw::Error(TW_ERROR_TIMEOUT, why); };
  };
  device->issue(queue.get(), failing("first"), &mine);
  device->issue(queue.get(), failing("second"), &mine);
  device->drain();
  device->check_queued(&others);
  try {
    device->check_queued(&mine);
    ADD_FAILURE() << "no error";
  } catch (const tw::Error& error) {
    EXPECT_STREQ(error.what(), "first");
  }
  device->check_queued(&mine);
  EXPECT_EQ(tw_stream_synchronize(queue.get()), TW_ERROR_TIMEOUT);
  EXPECT_TRUE(said("first")) << tw_last_error();
  EXPECT_EQ(tw_stream_synchronize(queue.get()), TW_OK);
}

TEST(Order, ForgetDropsAnOwnersErrors) {
  const std::shared_ptr<Device> device = tw::create_cpu_device(1);
  const Queue queue;
  const int mine = 0;
  device->issue(
      queue.get(), [] { return TW_ERROR_SYSTEM; }, &mine);
  device->drain();
  device->forget(&mine);
  device->check_queued(&mine);
}

// ---- Through the C API ----

TEST(Stream, OneThreadDrivesAllRanksOnQueues) {
  const ThreadRanks ranks(3);
  const Queue queues[3];
  float in[3][8], out[3][8];
  for (int round = 0; round < 20; ++round)
    for (int r = 0; r < 3; ++r) {
      // Earlier rounds may still run: each has its place.
      if (round < 8) in[r][round] = static_cast<float>(10 * r + round);
      if (round < 8)
        ASSERT_EQ(tw_all_reduce(&in[r][round], &out[r][round], 1, TW_FP32, TW_SUM, ranks.comm(r),
                                queues[r].get()),
                  TW_OK)
            << tw_last_error();
      else
        ASSERT_EQ(tw_barrier(ranks.comm(r), queues[r].get()), TW_OK) << tw_last_error();
    }
  for (const Queue& queue : queues)
    EXPECT_EQ(tw_stream_synchronize(queue.get()), TW_OK) << tw_last_error();
  for (auto& rank : out)
    for (int round = 0; round < 8; ++round)
      EXPECT_EQ(rank[round], static_cast<float>(30 + 3 * round));
}

TEST(Stream, PutsAndSignalsRunInOrder) {
  const ThreadRanks ranks(2);
  ranks.run([](int rank, tw_comm_t comm) {
    const Queue queue;
    tw_window_t window;
    tw_signals_t signals;
    ASSERT_EQ(tw_window_create(comm, 4096, &window), TW_OK);
    ASSERT_EQ(tw_signals_create(comm, 2, &signals), TW_OK);
    const int peer = 1 - rank;
    std::vector<int> out(64), in(64);
    for (int i = 0; i < 64; ++i) {
      out[static_cast<size_t>(i)] = 100 * rank + i;
      // What peer wrote before comes back in `in`, one by one.
      const size_t at = static_cast<size_t>(i) * sizeof(int);
      EXPECT_EQ(tw_put(window, peer, at, &out[static_cast<size_t>(i)], sizeof(int), queue.get()),
                TW_OK);
      EXPECT_EQ(tw_signal(signals, peer, 0, queue.get()), TW_OK);
      EXPECT_EQ(tw_wait_signal(signals, peer, 0, static_cast<uint64_t>(i) + 1, -1, queue.get()),
                TW_OK);
      EXPECT_EQ(tw_get(&in[static_cast<size_t>(i)], window, rank, at, sizeof(int), queue.get()),
                TW_OK);
    }
    EXPECT_EQ(tw_stream_synchronize(queue.get()), TW_OK) << tw_last_error();
    for (int i = 0; i < 64; ++i) EXPECT_EQ(in[static_cast<size_t>(i)], 100 * peer + i);
    EXPECT_EQ(tw_signals_destroy(signals), TW_OK);
    EXPECT_EQ(tw_window_destroy(window), TW_OK);
  });
}

TEST(Stream, AQueuedErrorSurfacesAtTheNextCallAndAtSynchronise) {
  const ThreadRanks ranks(2);
  const Queue queue;
  tw_signals_t signals[2];
  ranks.run([&](int rank, tw_comm_t comm) {
    ASSERT_EQ(tw_signals_create(comm, 1, &signals[rank]), TW_OK);
  });
  ASSERT_EQ(tw_wait_signal(signals[0], 1, 0, 1, 30, queue.get()), TW_OK);
  EXPECT_EQ(tw_stream_synchronize(queue.get()), TW_ERROR_TIMEOUT);
  EXPECT_TRUE(said("tw_wait_signal: rank 0 waited 30 ms for rank 1")) << tw_last_error();
  EXPECT_EQ(tw_signal(signals[0], 1, 0, nullptr), TW_ERROR_TIMEOUT) << "the next call";
  EXPECT_TRUE(said("tw_wait_signal: rank 0 waited 30 ms for rank 1")) << tw_last_error();
  EXPECT_EQ(tw_stream_synchronize(queue.get()), TW_OK);
  EXPECT_EQ(tw_signal(signals[0], 1, 0, nullptr), TW_OK) << "the comm is usable";
  ranks.run([&](int rank, tw_comm_t) {
    EXPECT_EQ(tw_signals_destroy(signals[rank]), TW_OK) << tw_last_error();
  });
}

TEST(Stream, AQueuedErrorSurfacesInAGroupToo) {
  const ThreadRanks ranks(1);
  const tw_comm_t comm = ranks.comm(0);
  tw_stream_t stream;
  tw_signals_t signals;
  ASSERT_EQ(tw_stream_create(nullptr, &stream), TW_OK);
  ASSERT_EQ(tw_signals_create(comm, 1, &signals), TW_OK);
  ASSERT_EQ(tw_wait_signal(signals, 0, 0, 1, 5, stream), TW_OK);
  EXPECT_EQ(tw_stream_synchronize(stream), TW_ERROR_TIMEOUT);
  float x = 1;
  for (const tw_status_t want : {TW_ERROR_TIMEOUT, TW_OK}) {  // told once
    EXPECT_EQ(tw_group_begin(), TW_OK);
    EXPECT_EQ(tw_all_reduce(&x, &x, 1, TW_FP32, TW_SUM, comm, nullptr), TW_OK);
    EXPECT_EQ(tw_group_end(), want) << tw_last_error();
  }
  EXPECT_EQ(tw_signals_destroy(signals), TW_OK);
  EXPECT_EQ(tw_stream_destroy(stream), TW_OK);
}

/// What is queued behind a call that fails must not speak to peers: they would take it for a
/// mismatch.
TEST(Stream, CallsBehindOneThatFailedSayWhyItDid) {
  for (int round = 0; round < 30; ++round) {
    const ThreadRanks ranks(4);
    std::atomic<int> queued{0};
    ranks.run([&](int rank, tw_comm_t comm) {
      if (rank == 3) {
        while (queued != 3) std::this_thread::yield();
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
        EXPECT_EQ(tw_comm_abort(comm), TW_OK);
        return;
      }
      tw_stream_t stream;
      ASSERT_EQ(tw_stream_create(nullptr, &stream), TW_OK);
      std::vector<float> data(8 * 700, 1.0F);
      for (size_t i = 0; i < 8; ++i)
        static_cast<void>(tw_all_reduce(&data[700 * i], &data[700 * i], 3 + 80 * i, TW_FP32, TW_SUM,
                                        comm, stream));
      ++queued;
      EXPECT_EQ(tw_stream_synchronize(stream), TW_ERROR_ABORTED) << tw_last_error();
      tw_status_t status;
      EXPECT_EQ(tw_comm_error(comm, &status, nullptr), TW_OK);
      EXPECT_EQ(status, TW_ERROR_ABORTED);
      EXPECT_EQ(tw_stream_destroy(stream), TW_OK);
    });
  }
}

TEST(Stream, ASignalInTheLastMomentIsNoTimeOut) {
  const ThreadRanks ranks(2);
  tw_signals_t signals[2] = {};
  ranks.run([&](int rank, tw_comm_t comm) {
    ASSERT_EQ(tw_signals_create(comm, 1, &signals[rank]), TW_OK);
    for (uint64_t round = 1; round <= 300; ++round) {
      if (rank == 1) {
        std::this_thread::sleep_for(std::chrono::microseconds(500 + round * 7));
        EXPECT_EQ(tw_signal(signals[1], 0, 0, nullptr), TW_OK);
      } else if (tw_wait_signal(signals[0], 1, 0, round, 1, nullptr) != TW_OK) {
        const std::string late = "is " + std::to_string(round) + ", expected";
        EXPECT_EQ(std::string(tw_last_error()).find(late), std::string::npos) << tw_last_error();
        EXPECT_EQ(tw_wait_signal(signals[0], 1, 0, round, -1, nullptr), TW_OK);
      }
      EXPECT_EQ(tw_barrier(comm, nullptr), TW_OK);
    }
    EXPECT_EQ(tw_signals_destroy(signals[rank]), TW_OK);
  });
}

TEST(Stream, DestroyingAStreamRunsWhatIsQueued) {
  const ThreadRanks ranks(2);
  float in = 3, out[2] = {};
  Queue queues[2];
  for (int i = 0; i < 10; ++i)
    for (int r = 0; r < 2; ++r)
      ASSERT_EQ(tw_all_reduce(&in, &out[r], 1, TW_FP32, TW_SUM, ranks.comm(r), queues[r].get()),
                TW_OK);
  for (Queue& queue : queues) queue.destroy();
  EXPECT_EQ(out[0], 6.0f);
  EXPECT_EQ(out[1], 6.0f);
}

TEST(Stream, DestroyingACommOrAWindowWaitsForItsQueuedCalls) {
  const Queue queues[2];
  std::vector<char> data(1 << 20, 'x');
  {
    const ThreadRanks ranks(2);
    ranks.run([&](int rank, tw_comm_t comm) {
      tw_window_t window;
      ASSERT_EQ(tw_window_create(comm, data.size(), &window), TW_OK);
      for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(tw_put(window, 1 - rank, 0, data.data(), data.size(), queues[rank].get()), TW_OK);
        EXPECT_EQ(tw_barrier(comm, queues[rank].get()), TW_OK);
      }
      EXPECT_EQ(tw_window_destroy(window), TW_OK) << tw_last_error();
      for (int i = 0; i < 20; ++i) EXPECT_EQ(tw_barrier(comm, queues[rank].get()), TW_OK);
    });
  }
  for (const Queue& queue : queues)
    EXPECT_EQ(tw_stream_synchronize(queue.get()), TW_OK) << tw_last_error();
}

TEST(Stream, AbortEndsQueuedCalls) {
  const ThreadRanks ranks(2);
  const Queue queue;
  ASSERT_EQ(tw_barrier(ranks.comm(0), queue.get()), TW_OK);
  std::this_thread::sleep_for(10ms);
  ASSERT_EQ(tw_comm_abort(ranks.comm(1)), TW_OK);
  EXPECT_EQ(tw_stream_synchronize(queue.get()), TW_ERROR_ABORTED);
}

TEST(Stream, BadHandles) {
  const ThreadRanks ranks(1);
  Queue queue;
  const tw_stream_t dead = queue.get();
  queue.destroy();
  EXPECT_EQ(tw_stream_synchronize(dead), TW_ERROR_INVALID_HANDLE);
  EXPECT_EQ(tw_stream_destroy(dead), TW_ERROR_INVALID_HANDLE);
  EXPECT_EQ(tw_stream_destroy(nullptr), TW_ERROR_INVALID_HANDLE);
  EXPECT_EQ(tw_barrier(ranks.comm(0), dead), TW_ERROR_INVALID_HANDLE);
  EXPECT_TRUE(said("destroyed")) << tw_last_error();
  EXPECT_EQ(tw_stream_synchronize(nullptr), TW_OK);
  EXPECT_EQ(tw_barrier(ranks.comm(0), nullptr), TW_OK) << tw_last_error();
}

}  // namespace
