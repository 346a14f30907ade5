// The race detector: protocols that are right are not reported, and each way of weakening them is.
#include <cstdlib>
#include <fstream>

#include "tests/vgpu/gpu_test.h"

namespace tw::test {
namespace {

constexpr int kRepeats = 8;  // schedules of one scenario, one seed going on

std::string report_file() { return ::testing::TempDir() + "tilewire_vgpu_races.jsonl"; }

// Read when the driver is loaded.
const bool kIsSet = [] {
  std::remove(report_file().c_str());
  ::setenv("TW_VGPU_RACES", "on", 1);
  ::setenv("TW_VGPU_REPORT", report_file().c_str(), 1);
  return true;
}();

struct Variant {
  const char* name;
  bool is_right;
  const char* first;
  const char* second;
};

class Races : public GpuTest {
 protected:
  /// Reports so far.
  static int reports() {
    std::ifstream in(report_file());
    int lines = 0;
    for (std::string line; std::getline(in, line);) ++lines;
    return lines;
  }
  /// Whether `scenario` is reported, run several times.
  template <class F>
  bool is_reported(F scenario) {
    const int before = reports();
    for (int i = 0; i < kRepeats; ++i) scenario();
    return reports() > before;
  }
};

// Data by all threads of GPU 1, a flag by its thread 0; GPU 0's thread 0 waits, all its threads
// read.
std::string message_text(const std::string& signal, const std::string& wait,
                         const std::string& before_signal, const std::string& after_wait) {
  const std::string regs = ".reg .b64 %d<4>; .reg .b32 %t, %r; .reg .pred %p;\n";
  const std::string begin =
      "ld.param.u64 %d0, [data]; ld.param.u64 %d1, [flag]; mov.u32 %t, %tid.x;\n"
      "cvt.u64.u32 %d2, %t; shl.b64 %d2, %d2, 2; add.s64 %d2, %d2, %d0;\n";
  return ptx_head() + ".visible .entry send(.param .u64 data, .param .u64 flag)\n{\n" + regs +
         begin + "st.global.u32 [%d2], %t;\n" + before_signal +
         "setp.ne.u32 %p, %t, 0; @%p bra END;\n" + signal + "\nEND: ret;\n}\n" +
         ".visible .entry receive(.param .u64 data, .param .u64 flag, .param .u64 sum)\n{\n" +
         regs + begin + "ld.param.u64 %d3, [sum]; setp.ne.u32 %p, %t, 0; @%p bra GO;\n" +
         "WAIT: " + wait + " setp.eq.u32 %p, %r, 0; @%p bra WAIT;\n" + "GO:\n" + after_wait +
         "ld.global.u32 %r, [%d2]; red.global.add.u32 [%d3], %r; ret;\n}\n";
}

class Messages : public Races {
 protected:
  void pass(const std::string& text) {
    use(0);
    CUcontext first = nullptr;
    TW_CU(cu.cuCtxGetCurrent(&first));
    CUdeviceptr sum = upload(std::vector<uint32_t>(1, 0));
    CUdeviceptr data = upload(std::vector<uint32_t>(64, 0));
    CUdeviceptr flag = upload(std::vector<uint32_t>(1, 0));
    launch(function(load(text), "receive"), 1, 64, {&data, &flag, &sum});
    use(1);
    TW_CU(cu.cuCtxEnablePeerAccess(first, 0));
    launch(function(load(text), "send"), 1, 64, {&data, &flag});
    synchronize();
    use(0);
    synchronize();
  }
};

const char* const kBarrier = "bar.sync 0;\n";

TEST_F(Messages, EachWeakeningIsReported) {
  const char* release = "st.release.sys.global.u32 [%d1], 1;";
  const char* acquire = "ld.acquire.sys.global.u32 %r, [%d1];";
  const Variant variants[] = {
      {"release and acquire", true, release, acquire},
      {"fence and relaxed", true, "fence.acq_rel.sys; st.relaxed.sys.global.u32 [%d1], 1;",
       "ld.relaxed.sys.global.u32 %r, [%d1]; fence.acq_rel.sys;"},
      {"an atomic that releases", true, "red.release.sys.global.add.u32 [%d1], 1;", acquire},
      {"a relaxed signal", false, "st.relaxed.sys.global.u32 [%d1], 1;", acquire},
      {"a volatile signal", false, "st.volatile.global.u32 [%d1], 1;", acquire},
      {"a signal of GPU scope", false, "st.release.gpu.global.u32 [%d1], 1;", acquire},
      {"a fence of GPU scope", false, "fence.acq_rel.gpu; st.relaxed.sys.global.u32 [%d1], 1;",
       acquire},
      {"a relaxed wait", false, release, "ld.relaxed.sys.global.u32 %r, [%d1];"},
      {"a volatile wait", false, release, "ld.volatile.global.u32 %r, [%d1];"},
      {"a wait of GPU scope", false, release, "ld.acquire.gpu.global.u32 %r, [%d1];"},
  };
  for (const Variant& variant : variants) {
    const std::string text = message_text(variant.first, variant.second, kBarrier, kBarrier);
    EXPECT_EQ(is_reported([&] { pass(text); }), !variant.is_right) << variant.name;
  }
  const std::string without_first = message_text(release, acquire, "", kBarrier);
  EXPECT_TRUE(is_reported([&] { pass(without_first); })) << "no barrier before the signal";
  const std::string without_second = message_text(release, acquire, kBarrier, "");
  EXPECT_TRUE(is_reported([&] { pass(without_second); })) << "no barrier after the wait";
}

// Block 0 stages in shared memory, copies in bulk and signals; block 1 waits and reads.
TEST_F(Races, BulkStores) {
  const auto text = [](const std::string& fence, const std::string& wait) {
    return ptx_head("sm_90a") +
           ".visible .entry run(.param .u64 out, .param .u64 flag)\n{\n"
           ".reg .b64 %d<4>; .reg .b32 %t, %r<4>; .reg .pred %p;\n"
           ".shared .align 16 .b8 stage[256];\n"
           "ld.param.u64 %d0, [out]; ld.param.u64 %d1, [flag]; mov.u32 %t, %tid.x;\n"
           "cvt.u64.u32 %d2, %t; shl.b64 %d2, %d2, 2; add.s64 %d2, %d2, %d0;\n"
           "mov.u32 %r0, stage; shl.b32 %r1, %t, 2; add.u32 %r1, %r1, %r0;\n"
           "mov.u32 %r2, %ctaid.x; setp.ne.u32 %p, %r2, 0; @%p bra READ;\n"
           "st.shared.u32 [%r1], %t;\n" +
           fence +
           "bar.sync 0; setp.ne.u32 %p, %t, 0; @%p bra END;\n"
           "cp.async.bulk.global.shared::cta.bulk_group [%d0], [%r0], 256;\n"
           "cp.async.bulk.commit_group;\n" +
           wait +
           "st.release.gpu.global.u32 [%d1], 1; bra END;\n"
           "READ: ld.acquire.gpu.global.u32 %r3, [%d1]; setp.eq.u32 %p, %r3, 0; @%p bra READ;\n"
           "ld.global.u32 %r3, [%d2]; setp.eq.u32 %p, %r3, %t; @%p bra END; trap;\n"
           "END: ret;\n}\n";
  };
  const char* fence = "fence.proxy.async.shared::cta;\n";
  const char* wait = "cp.async.bulk.wait_group 0;\n";
  const auto run = [&](const std::string& with) {
    CUdeviceptr out = upload(std::vector<uint32_t>(64, 0xdead));
    CUdeviceptr flag = upload(std::vector<uint32_t>(1, 0));
    launch(function(load(with), "run"), 2, 64, {&out, &flag});
    synchronize();
  };
  EXPECT_FALSE(is_reported([&] { run(text(fence, wait)); }));
  EXPECT_TRUE(is_reported([&] { run(text("", wait)); })) << "no proxy fence";
}

// A bulk load into shared memory: who does not wait for it reads what may not be there yet.
TEST_F(Races, BulkLoads) {
  const auto text = [](const std::string& wait) {
    return ptx_head("sm_90a") +
           ".visible .entry run(.param .u64 in, .param .u64 sum)\n{\n"
           ".reg .b64 %d<4>; .reg .b32 %t, %r<4>; .reg .pred %p;\n"
           ".shared .align 16 .b8 stage[256]; .shared .align 8 .b64 full;\n"
           "ld.param.u64 %d0, [in]; ld.param.u64 %d1, [sum]; mov.u32 %t, %tid.x;\n"
           "mov.u32 %r0, stage; mov.u32 %r1, full; shl.b32 %r2, %t, 2; add.u32 %r2, %r2, %r0;\n"
           "setp.ne.u32 %p, %t, 0; @%p bra READY;\n"
           "mbarrier.init.shared::cta.b64 [%r1], 1; fence.mbarrier_init.release.cluster;\n"
           "READY: bar.sync 0; @%p bra WAIT;\n"
           "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 256;\n"
           "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r0], [%d0], 256, "
           "[%r1];\n"
           "WAIT:\n" +
           wait + "ld.shared.u32 %r3, [%r2]; red.global.add.u32 [%d1], %r3; ret;\n}\n";
  };
  CUdeviceptr sum = upload(std::vector<uint32_t>(1, 0));
  const auto run = [&](const std::string& with) {
    CUdeviceptr in = upload(std::vector<uint32_t>(64, 3));
    launch(function(load(with), "run"), 1, 64, {&in, &sum});
    synchronize();
  };
  const std::string right =
      "mbarrier.try_wait.parity.shared::cta.b64 %p, [%r1], 0; @!%p bra WAIT;\n";
  EXPECT_FALSE(is_reported([&] { run(text(right)); }));
  EXPECT_EQ(download<uint32_t>(sum, 1)[0], 64u * 3 * kRepeats);
  EXPECT_TRUE(is_reported([&] { run(text("")); })) << "no wait";
}

// Threads of a block: shared memory without a barrier, and kernels of two streams without an event.
TEST_F(Races, BlocksAndStreams) {
  const auto mirror = [](const std::string& barrier) {
    return ptx_head() +
           ".visible .entry run()\n{\n.reg .b32 %t, %r<4>; .shared .align 4 .b32 memory[64];\n"
           "mov.u32 %t, %tid.x; mov.u32 %r0, memory; shl.b32 %r1, %t, 2; add.u32 %r1, %r1, %r0;\n"
           "st.shared.u32 [%r1], %t;\n" +
           barrier +
           "sub.u32 %r2, 63, %t; shl.b32 %r2, %r2, 2; add.u32 %r2, %r2, %r0;\n"
           "ld.shared.u32 %r3, [%r2]; ret;\n}\n";
  };
  const auto run = [&](const std::string& text) {
    launch(function(load(text), "run"), 1, 64, {});
    synchronize();
  };
  EXPECT_FALSE(is_reported([&] { run(mirror(kBarrier)); }));
  EXPECT_TRUE(is_reported([&] { run(mirror("")); }));
  EXPECT_TRUE(is_reported([&] { run(mirror("bar.warp.sync -1;\n")); }))
      << "a barrier of warps only";

  const std::string add = ptx_head() +
                          ".visible .entry run(.param .u64 out)\n{\n.reg .b64 %d; .reg .b32 %r;\n"
                          "ld.param.u64 %d, [out]; ld.global.u32 %r, [%d]; add.u32 %r, %r, 1;\n"
                          "st.global.u32 [%d], %r; ret;\n}\n";
  CUdeviceptr word = upload(std::vector<uint32_t>(1, 0));
  CUstream streams[2];
  CUevent event = nullptr;
  for (CUstream& stream : streams) TW_CU(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  TW_CU(cu.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  const auto in_two_streams = [&](bool waits) {
    const CUfunction kernel = function(load(add), "run");
    launch(kernel, 1, 1, {&word}, 0, streams[0]);
    if (waits) {
      TW_CU(cu.cuEventRecord(event, streams[0]));
      TW_CU(cu.cuStreamWaitEvent(streams[1], event, 0));
    }
    launch(kernel, 1, 1, {&word}, 0, streams[1]);
    synchronize();
  };
  EXPECT_FALSE(is_reported([&] { in_two_streams(true); }));
  EXPECT_TRUE(is_reported([&] { in_two_streams(false); })) << "no event between the streams";
}

/// Two threads of the GPU: half words of one word each.
TEST_F(Races, HalvesOfAWord) {
  const std::string head =
      ptx_head() +
      ".visible .entry halves(.param .u64 data)\n{\n.reg .b64 %d<2>; .reg .b32 "
      "%t; .reg .b16 %h;\nld.param.u64 %d0, [data]; mov.u32 %t, %tid.x;\n";
  const auto scenario = [&](const char* shift) {
    return [this, head, shift] {
      CUdeviceptr data = upload(std::vector<uint32_t>(64, 0));
      launch(function(load(head + "cvt.u16.u32 %h, %t; shr.u32 %t, %t, " + shift +
                           "; shl.b32 %t, %t, 1; cvt.u64.u32 %d1, %t; add.s64 %d0, %d0, %d1;\n"
                           "st.global.u16 [%d0], %h; ret;\n}\n"),
                      "halves"),
             1, 64, {&data});
      synchronize();
    };
  };
  EXPECT_FALSE(is_reported(scenario("0")));
  EXPECT_TRUE(is_reported(scenario("1")));  // two threads a half
}

// A copy reads as many bytes as its source has: zeros take the place of the others.
TEST_F(Races, CopiesOfPartOfALine) {
  const std::string head =
      ptx_head() +
      ".visible .entry parts(.param .u64 data)\n{\n.reg .b64 %d<2>; .reg .b32 %t, %r; .reg .pred "
      "%p;\n.shared .align 16 .b8 stage[512];\nld.param.u64 %d0, [data]; mov.u32 %t, %tid.x;\n"
      "and.b32 %r, %t, 31; shl.b32 %r, %r, 4; cvt.u64.u32 %d1, %r; add.s64 %d0, %d0, %d1;\n"
      "setp.lt.u32 %p, %t, 32; @!%p st.global.u32 [%d0+8], %t; @!%p ret;\n"
      "mov.u32 %t, stage; add.u32 %r, %r, %t;\n";
  const auto scenario = [&](const char* bytes) {
    return [this, head, bytes] {
      CUdeviceptr data = upload(std::vector<uint32_t>(128, 0));
      launch(function(load(head + "mov.u32 %t, " + bytes +
                           "; cp.async.cg.shared.global [%r], [%d0], 16, %t; "
                           "cp.async.wait_all; ret;\n}\n"),
                      "parts"),
             1, 64, {&data});
      synchronize();
    };
  };
  EXPECT_FALSE(is_reported(scenario("0")));
  EXPECT_FALSE(is_reported(scenario("8")));
  EXPECT_TRUE(is_reported(scenario("12")));
}

/// What a kernel has learnt from another GPU holds for the kernels behind it in its stream, and for
/// what the host launches when it has seen them end.
class Successors : public Messages {
 protected:
  void SetUp() override {
    Messages::SetUp();
    text_ = message_text("st.release.sys.global.u32 [%d1], 1;",
                         "ld.acquire.sys.global.u32 %r, [%d1];", "bar.sync 0;", "bar.sync 0;") +
            ".visible .entry over(.param .u64 data)\n{\n.reg .b64 %d<3>; .reg .b32 %t;\n"
            "ld.param.u64 %d0, [data]; mov.u32 %t, %tid.x; cvt.u64.u32 %d2, %t;\n"
            "shl.b64 %d2, %d2, 2; add.s64 %d2, %d2, %d0; st.global.u32 [%d2], %t; ret;\n}\n"
            ".visible .entry spin(.param .u64 word)\n{\n.reg .b64 %d; .reg .b32 %r; .reg .pred "
            "%p;\nld.param.u64 %d, [word];\nWAIT: ld.acquire.sys.global.u32 %r, [%d]; setp.eq.u32 "
            "%p, %r, 0; @%p bra WAIT; ret;\n}\n"
            ".visible .entry end(.param .u64 word)\n{\n.reg .b64 %d;\nld.param.u64 %d, [word];\n"
            "st.release.sys.global.u32 [%d], 1; ret;\n}\n";
    CUcontext contexts[3] = {};
    for (int i = 0; i < 3; ++i) TW_CU(cu.cuDevicePrimaryCtxRetain(&contexts[i], i));
    for (int i = 0; i < 3; ++i) {
      use(i);
      for (int j = 0; j < 3; ++j)
        if (i != j) cu.cuCtxEnablePeerAccess(contexts[j], 0);
      modules_[i] = load(text_);
    }
    use(0);
    sum_ = upload(std::vector<uint32_t>(1, 0));
    data_ = upload(std::vector<uint32_t>(64, 0));
    flag_ = upload(std::vector<uint32_t>(1, 0));
    word_ = upload(std::vector<uint32_t>(1, 0));
  }
  void run(int gpu, const char* name, unsigned threads, std::vector<void*> arguments) {
    use(gpu);
    launch(function(modules_[gpu], name), 1, threads, std::move(arguments));
  }
  std::string text_;
  CUmodule modules_[3] = {};
  CUdeviceptr sum_ = 0, data_ = 0, flag_ = 0, word_ = 0;
};

TEST_F(Successors, OfTheSameStream) {
  const int before = reports();
  run(0, "receive", 64, {&data_, &flag_, &sum_});
  run(0, "over", 64, {&data_});
  run(1, "send", 64, {&data_, &flag_});
  for (int i = 0; i < 2; ++i) {
    use(i);
    synchronize();
  }
  EXPECT_EQ(reports(), before);
}

/// A kernel of a third GPU runs all the while. Also: a host's wait ends while blocks spin.
TEST_F(Successors, OfWhatTheHostHasSeenEnd) {
  const int before = reports();
  run(2, "spin", 1, {&word_});
  run(0, "receive", 64, {&data_, &flag_, &sum_});
  run(1, "send", 64, {&data_, &flag_});
  use(0);
  synchronize();
  run(1, "over", 64, {&data_});
  use(1);
  synchronize();
  run(0, "end", 1, {&word_});
  for (int i = 0; i < 3; ++i) {
    use(i);
    synchronize();
  }
  EXPECT_EQ(reports(), before);
}

}  // namespace
}  // namespace tw::test
