// Calls of comms on GPUs on streams and in graphs: captured, replayed, and mixed with others.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/runner/gpus.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

constexpr size_t kCount = 3000;

/// A window of floats at one rank on a GPU, and a stream.
class RankOnGpu {
 public:
  RankOnGpu(int rank, tw_comm_t comm) : comm_(comm), gpu_(rank), stream_(gpu_.create_stream()) {
    EXPECT_EQ(tw_window_create(comm, kCount * sizeof(float), &window_), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_window_ptr(window_, rank, &memory_), TW_OK) << tw_last_error();
    write(static_cast<float>(rank + 1));
  }
  RankOnGpu(const RankOnGpu&) = delete;
  RankOnGpu& operator=(const RankOnGpu&) = delete;
  ~RankOnGpu() {
    gpu_.synchronize(stream_);
    EXPECT_EQ(tw_window_destroy(window_), TW_OK) << tw_last_error();
    gpu_.destroy_stream(stream_);
  }

  Gpu& gpu() { return gpu_; }
  void* stream() const { return stream_; }
  void* memory() const { return memory_; }

  void write(float value) {
    const std::vector<float> data(kCount, value);
    gpu_.write(memory_, data.data(), kCount * sizeof(float));
  }
  /// In place in the window: every rank's values become the sum.
  void sum(void* stream) {
    EXPECT_EQ(tw_all_reduce(memory_, memory_, kCount, TW_FP32, TW_SUM, comm_, stream), TW_OK)
        << tw_last_error();
  }
  void copy_to(void* to, void* stream) {
    EXPECT_EQ(tw_get(to, window_, gpu_.ordinal(), 0, kCount * sizeof(float), stream), TW_OK)
        << tw_last_error();
  }
  void expect(float value, const char* when) {
    std::vector<float> data(kCount);
    gpu_.synchronize(stream_);
    gpu_.synchronize();
    gpu_.read(data.data(), memory_, kCount * sizeof(float));
    for (size_t i = 0; i < kCount; ++i) ASSERT_EQ(data[i], value) << when << ", element " << i;
  }

 private:
  tw_comm_t comm_;
  Gpu gpu_;
  void* stream_;
  tw_window_t window_ = nullptr;
  void* memory_ = nullptr;
};

template <class Body>
void on_two_gpus(Body body) {
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    RankOnGpu mine(rank, comm);
    body(mine, comm);
  });
}

// Nothing that a call takes with it tells its number: epochs are read where the kernel runs.
TEST(GpuGraph, ReplaysAndEagerCallsFollowEachOther) {
  TW_NEED_GPUS(2);
  on_two_gpus([](RankOnGpu& mine, tw_comm_t comm) {
    mine.gpu().begin_capture(mine.stream());
    for (int i = 0; i < 3; ++i) mine.sum(mine.stream());
    EXPECT_EQ(tw_broadcast(mine.memory(), mine.memory(), kCount, TW_FP32, 1, comm, mine.stream()),
              TW_OK)
        << tw_last_error();
    void* const graph = mine.gpu().end_capture(mine.stream());
    mine.expect(mine.gpu().ordinal() + 1.f, "capturing runs nothing");
    float value = 1.5f;  // what doubles with each sum: (1 + 2) / 2
    for (int i = 0; i < 4; ++i) {
      mine.gpu().launch_graph(graph, mine.stream());
      mine.sum(mine.stream());
      value *= 16;
      mine.expect(value, "after a replay and a call");
    }
    mine.gpu().destroy_graph(graph);
  });
}

TEST(GpuGraph, StreamsOfOneRankAreOneOrder) {
  TW_NEED_GPUS(2);
  on_two_gpus([](RankOnGpu& mine, tw_comm_t /*comm*/) {
    void* const other = mine.gpu().create_stream();
    float value = 1.5f;
    for (int i = 0; i < 12; ++i) {
      mine.sum(i % 3 == 0 ? mine.stream() : i % 3 == 1 ? other : nullptr);
      value *= 2;
    }
    mine.gpu().synchronize(other);
    mine.expect(value, "after calls on three streams");
    mine.gpu().destroy_stream(other);
  });
}

TEST(GpuGraph, CopiesAndLaunchesOfOtherStreamsAreOneOrder) {
  TW_NEED_GPUS(2);
  on_two_gpus([](RankOnGpu& mine, tw_comm_t /*comm*/) {
    void* const other = mine.gpu().create_stream();
    void* const copy = mine.gpu().allocate(kCount * sizeof(float));
    std::vector<float> got(kCount);
    float value = 1.5f;
    for (int i = 0; i < 4; ++i) {
      mine.sum(mine.stream());
      value *= 2;
      mine.copy_to(copy, other);
      mine.sum(mine.stream());  // in the place that is copied
      mine.gpu().synchronize(other);
      mine.gpu().read(got.data(), copy, kCount * sizeof(float));
      for (const float x : got) ASSERT_EQ(x, value) << "copy " << i;
      value *= 2;
    }
    mine.expect(value, "after the copies");
    mine.gpu().free(copy);
    mine.gpu().destroy_stream(other);
  });
}

/// A product in the window's memory: A is 4 x 8 at the front, of ones and the rank's number, B 8 x
/// n behind it, of ones; C behind that.
class Product {
 public:
  Product(RankOnGpu& mine, tw_comm_t comm, size_t n) : mine_(mine), comm_(comm) {
    float* const at = static_cast<float*>(mine.memory());
    args_.m = 4;
    args_.n = n;
    args_.k = 8;
    args_.type = args_.out_type = TW_FP32;
    args_.a = at;
    args_.b = at + 32;
    args_.c = at + 32 + 8 * n;
    mine.write(1);
  }
  tw_status_t call() { return tw_gemm_all_reduce(&args_, comm_, mine_.stream()); }
  /// C is the same sum on both ranks, of 8 products of ones each; it is overwritten afterwards.
  void expect(const char* when) {
    mine_.gpu().synchronize(mine_.stream());
    std::vector<float> c(args_.m * args_.n);
    mine_.gpu().read(c.data(), args_.c, c.size() * sizeof(float));
    for (const float x : c) ASSERT_EQ(x, 16) << when;
    std::fill(c.begin(), c.end(), -1.f);
    mine_.gpu().write(args_.c, c.data(), c.size() * sizeof(float));
  }

 private:
  RankOnGpu& mine_;
  tw_comm_t comm_;
  tw_gemm_args_t args_ = TW_GEMM_ARGS_INIT;
};

void expect_refused(tw_status_t status) {
  EXPECT_EQ(status, TW_ERROR_UNSUPPORTED);
  EXPECT_NE(std::string(tw_last_error()).find("make a call of this size once outside of capture"),
            std::string::npos)
      << tw_last_error();
}

// What a graph holds stays good: a workspace that grows leaves the old one where it is.
TEST(GpuGraph, FusedCallsAreCapturedOnceTheirMemoryIsThere) {
  TW_NEED_GPUS(2);
  on_two_gpus([](RankOnGpu& mine, tw_comm_t comm) {
    Product product(mine, comm, 128);
    mine.gpu().begin_capture(mine.stream());
    expect_refused(product.call());
    mine.gpu().destroy_graph(mine.gpu().end_capture(mine.stream()));
    ASSERT_EQ(product.call(), TW_OK) << tw_last_error();
    product.expect("the first call");
    mine.gpu().begin_capture(mine.stream());
    for (int i = 0; i < 2; ++i) EXPECT_EQ(product.call(), TW_OK) << tw_last_error();
    void* const graph = mine.gpu().end_capture(mine.stream());
    const auto replay = [&] {
      mine.gpu().launch_graph(graph, mine.stream());
      product.expect("a replay");
      ASSERT_EQ(product.call(), TW_OK) << tw_last_error();
      product.expect("a call after a replay");
    };
    replay();
    ASSERT_EQ(tw_workspace_reserve(comm, 5 << 20), TW_OK) << tw_last_error();
    // What is allocated now lies elsewhere: the graph does not write to it.
    const std::vector<char> mark(1 << 19, 0x5a);
    tw_window_t window;
    void* memory = nullptr;
    ASSERT_EQ(tw_window_create(comm, mark.size(), &window), TW_OK) << tw_last_error();
    ASSERT_EQ(tw_window_ptr(window, mine.gpu().ordinal(), &memory), TW_OK);
    mine.gpu().write(memory, mark.data(), mark.size());
    ASSERT_EQ(tw_barrier(comm, mine.stream()), TW_OK) << tw_last_error();
    for (int i = 0; i < 2; ++i) replay();
    std::vector<char> got(mark.size());
    mine.gpu().read(got.data(), memory, got.size());
    EXPECT_TRUE(got == mark) << "a replay wrote into a window";
    EXPECT_EQ(tw_window_destroy(window), TW_OK) << tw_last_error();
    mine.gpu().destroy_graph(graph);
  });
}

TEST(GpuGraph, CallsWithArraysAreNotCaptured) {
  TW_NEED_GPUS(2);
  on_two_gpus([](RankOnGpu& mine, tw_comm_t comm) {
    const std::vector<size_t> counts = {10, 20};
    mine.gpu().begin_capture(mine.stream());
    EXPECT_EQ(tw_all_gather_v(static_cast<float*>(mine.memory()) + 100, mine.memory(),
                              counts.data(), nullptr, TW_FP32, comm, mine.stream()),
              TW_ERROR_UNSUPPORTED);
    EXPECT_NE(std::string(tw_last_error()).find("cannot be captured"), std::string::npos)
        << tw_last_error();
    mine.sum(mine.stream());
    void* const graph = mine.gpu().end_capture(mine.stream());
    mine.gpu().launch_graph(graph, mine.stream());
    mine.expect(3, "the comm goes on");
    mine.gpu().destroy_graph(graph);
  });
}

}  // namespace
}  // namespace tw::test
