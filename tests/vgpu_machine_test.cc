// What warps, blocks and GPUs do together: barriers, divergence, calls, memory between GPUs, and
// the reports of what goes wrong.
#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "tests/vgpu/gpu_test.h"

namespace tw::test {
namespace {

class Machine : public GpuTest {};

/// A kernel of one pointer parameter, which is in %out; %t is the thread, %i its 64-bit number.
std::string kernel(const std::string& body, const std::string& before = "",
                   const char* target = "sm_80") {
  return ptx_head(target) + before +
         ".visible .entry run(.param .u64 out)\n{\n"
         ".reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<16>, %t; .reg .b64 %d<16>, %out, %i; "
         ".reg .f32 %f<8>;\n"
         "ld.param.u64 %out, [out]; mov.u32 %t, %tid.x; cvt.u64.u32 %i, %t;\n" +
         body + "\nret;\n}\n";
}

/// Stores %r0 as the thread's result.
const char* const kStore =
    "shl.b64 %d15, %i, 2; add.s64 %d15, %out, %d15; st.global.u32 [%d15], %r0;";

class Kernels : public GpuTest {
 protected:
  std::vector<uint32_t> run(const std::string& text, unsigned threads, unsigned blocks = 1,
                            unsigned shared = 0) {
    CUdeviceptr out = upload(std::vector<uint32_t>(threads, 0xdeadbeef));
    launch(function(load(text), "run"), blocks, threads, {&out}, shared);
    synchronize();
    return download<uint32_t>(out, threads);
  }
};

TEST_F(Kernels, BarrierOrdersSharedMemory) {
  // Each thread stores its number, then reads its mirror image's.
  const auto got = run(kernel(".shared .align 4 .b32 memory[256];\n"
                              "mov.u32 %r1, memory; shl.b32 %r2, %t, 2; add.u32 %r2, %r1, %r2;\n"
                              "st.shared.u32 [%r2], %t; bar.sync 0;\n"
                              "sub.u32 %r3, 255, %t; shl.b32 %r3, %r3, 2; add.u32 %r3, %r1, %r3;\n"
                              "ld.shared.u32 %r0, [%r3];\n" +
                              std::string(kStore)),
                       256);
  for (uint32_t i = 0; i < 256; ++i) EXPECT_EQ(got[i], 255 - i);
}

TEST_F(Kernels, BarrierReductions) {
  const auto got = run(kernel("setp.lt.u32 %p1, %t, 96; bar.red.popc.u32 %r1, 0, %p1;\n"
                              "bar.red.and.pred %p2, 1, %p1; bar.red.or.pred %p3, 2, %p1;\n"
                              "selp.u32 %r2, 1000, 0, %p2; selp.u32 %r3, 2000, 0, %p3;\n"
                              "add.u32 %r0, %r1, %r2; add.u32 %r0, %r0, %r3;\n" +
                              std::string(kStore)),
                       128);
  EXPECT_EQ(got, std::vector<uint32_t>(128, 2096));
}

TEST_F(Kernels, LanesOfOneWarpWaitForEachOther) {
  // Lane 0 spins on what lane 1 stores: neither starves the other.
  const auto got = run(
      kernel(".shared .align 4 .b32 flag;\n"
             "st.volatile.shared.u32 [flag], 0; bar.warp.sync -1;\n"
             "setp.ne.u32 %p1, %t, 0; @%p1 bra OTHERS;\n"
             "WAIT: ld.volatile.shared.u32 %r1, [flag]; setp.ne.u32 %p2, %r1, 9; @%p2 bra WAIT;\n"
             "bra END;\n"
             "OTHERS: setp.ne.u32 %p3, %t, 1; @%p3 bra END;\n"
             "st.volatile.shared.u32 [flag], 9;\n"
             "END: bar.warp.sync -1; ld.volatile.shared.u32 %r0, [flag];\n" +
             std::string(kStore)),
      32);
  EXPECT_EQ(got, std::vector<uint32_t>(32, 9));
}

TEST_F(Kernels, SyncJoinsDivergedLanes) {
  // Lanes arrive at the shuffle by two ways of different lengths.
  const auto got = run(kernel("and.b32 %r1, %t, 1; setp.eq.u32 %p1, %r1, 0; @%p1 bra EVEN;\n"
                              "add.u32 %r2, %t, 100; bra BOTH;\n"
                              "EVEN: add.u32 %r2, %t, 150; add.u32 %r2, %r2, 50;\n"
                              "BOTH: shfl.sync.bfly.b32 %r0|%p2, %r2, 1, 31, -1;\n" +
                              std::string(kStore)),
                       32);
  for (uint32_t i = 0; i < 32; ++i) EXPECT_EQ(got[i], i % 2 == 0 ? i + 1 + 100 : i - 1 + 200);
}

TEST_F(Kernels, Shuffles) {
  struct Row {
    const char* text;
    int (*source)(int lane);
  };
  const Row rows[] = {
      {"shfl.sync.up.b32 %r0, %t, 3, 0, -1;", [](int lane) { return lane >= 3 ? lane - 3 : lane; }},
      {"shfl.sync.down.b32 %r0, %t, 5, 31, -1;",
       [](int lane) { return lane + 5 < 32 ? lane + 5 : lane; }},
      {"shfl.sync.bfly.b32 %r0, %t, 12, 31, -1;", [](int lane) { return lane ^ 12; }},
      {"shfl.sync.idx.b32 %r0, %t, 4, 31, -1;", [](int) { return 4; }},
      // Segments of eight lanes: the mask 0x18 in bits 8 to 12.
      {"shfl.sync.idx.b32 %r0, %t, 2, 0x181f, -1;", [](int lane) { return (lane & 24) + 2; }},
      {"shfl.sync.down.b32 %r0, %t, 6, 0x181f, -1;",
       [](int lane) { return lane % 8 + 6 < 8 ? lane + 6 : lane; }},
  };
  for (const Row& row : rows) {
    const auto got = run(kernel(std::string(row.text) + kStore), 32);
    for (int lane = 0; lane < 32; ++lane)
      EXPECT_EQ(got[static_cast<size_t>(lane)], static_cast<uint32_t>(row.source(lane)))
          << row.text << " lane " << lane;
  }
}

TEST_F(Kernels, VotesMatchesAndReductions) {
  const auto got =
      run(kernel("and.b32 %r1, %t, 3; setp.eq.u32 %p1, %r1, 0;\n"
                 "vote.sync.ballot.b32 %r2, %p1, -1; vote.sync.any.pred %p2, %p1, -1;\n"
                 "vote.sync.all.pred %p3, %p1, -1; match.any.sync.b32 %r3, %r1, -1;\n"
                 "redux.sync.add.s32 %r4, %t, -1; redux.sync.max.u32 %r5, %t, -1;\n"
                 "xor.b32 %r0, %r2, %r3; add.u32 %r0, %r0, %r4; add.u32 %r0, %r0, %r5;\n"
                 "selp.u32 %r6, 7, 0, %p2; selp.u32 %r7, 70000, 0, %p3;\n"
                 "add.u32 %r0, %r0, %r6; add.u32 %r0, %r0, %r7;\n" +
                 std::string(kStore)),
          32);
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const uint32_t ballot = 0x11111111, same = 0x11111111u << (lane % 4);
    EXPECT_EQ(got[lane], (ballot ^ same) + 496 + 31 + 7) << lane;
  }
}

TEST_F(Kernels, FunctionsAreCalledByDivergedLanes) {
  const std::string functions =
      ".func (.param .b32 result) twice(.param .b32 x)\n{\n.reg .b32 %r<4>;\n"
      "ld.param.u32 %r1, [x]; shl.b32 %r1, %r1, 1; st.param.b32 [result+0], %r1; ret;\n}\n"
      ".func (.param .b32 result) steps(.param .b32 x, .param .b64 y)\n{\n.reg .b32 %r<4>; .reg "
      ".b64 %d<4>; .reg .pred %p;\n"
      "ld.param.u32 %r1, [x]; ld.param.u64 %d1, [y]; cvt.u32.u64 %r2, %d1;\n"
      "setp.lt.u32 %p, %r1, 8; @%p bra SMALL;\n"
      "{ .param .b32 a; st.param.b32 [a+0], %r1; .param .b32 b; call.uni (b), twice, (a); "
      "ld.param.b32 %r1, [b+0]; }\n"
      "SMALL: add.u32 %r1, %r1, %r2; st.param.b32 [result+0], %r1; ret;\n}\n";
  const auto got =
      run(kernel("mov.u32 %r0, 5; setp.gt.u32 %p1, %t, 20; @%p1 bra END;\n"
                 "{ .param .b32 a; st.param.b32 [a+0], %t; .param .b64 c; mov.u64 %d1, 1000; "
                 "st.param.b64 [c+0], %d1;\n"
                 ".param .b32 b; call.uni (b), steps, (a, c); ld.param.b32 %r0, [b+0]; }\n"
                 "END:\n" +
                     std::string(kStore),
                 functions),
          32);
  for (uint32_t i = 0; i < 32; ++i) EXPECT_EQ(got[i], i > 20 ? 5 : i < 8 ? i + 1000 : 2 * i + 1000);
}

TEST_F(Kernels, JumpTables) {
  const auto got =
      run(kernel("and.b32 %r1, %t, 3; TABLE: .branchtargets A, B, C, D; brx.idx %r1, TABLE;\n"
                 "A: mov.u32 %r0, 10; bra END; B: mov.u32 %r0, 11; bra END;\n"
                 "C: mov.u32 %r0, 12; bra END; D: mov.u32 %r0, 13;\n"
                 "END:\n" +
                 std::string(kStore)),
          40);
  for (uint32_t i = 0; i < 40; ++i) EXPECT_EQ(got[i], 10 + i % 4);
}

TEST_F(Kernels, LocalMemoryIsEachLanesOwn) {
  const auto got = run(
      kernel(
          ".local .align 8 .b8 own[64];\n"
          "mov.u64 %d1, own; cvta.local.u64 %d2, %d1; and.b64 %d3, %i, 15; shl.b64 %d3, %d3, 2;\n"
          "add.s64 %d4, %d1, %d3; st.local.u32 [%d4], %t;\n"
          "add.s64 %d5, %d2, %d3; ld.u32 %r0, [%d5];\n" +
          std::string(kStore)),
      64);
  for (uint32_t i = 0; i < 64; ++i) EXPECT_EQ(got[i], i);
}

TEST_F(Kernels, VectorsOfEveryWidth) {
  const auto got =
      run(kernel("shl.b64 %d1, %i, 5; add.s64 %d1, %out, %d1; mul.lo.u32 %r1, %t, 3;\n"
                 "setp.gt.u32 %p1, %t, 3; @%p1 bra END;\n"
                 "st.global.v4.u32 [%d1], {%r1, %t, 5, %t}; st.global.v2.u64 [%d1+16], {%i, %i};\n"
                 "ld.global.v2.u16 {%h1, %h2}, [%d1+4]; ld.global.v2.u8 {%h3, _}, [%d1+16];\n"
                 "st.global.v4.u8 [%d1+28], {%h1, %h3, 7, 9};\n"
                 "END:"),
          32);
  for (uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(std::vector<uint32_t>(got.begin() + i * 8, got.begin() + i * 8 + 8),
              (std::vector<uint32_t>{3 * i, i, 5, i, i, 0, i, i | i << 8 | 7 << 16 | 9 << 24}));
  }
}

TEST_F(Kernels, VariablesHaveInitialValues) {
  const auto got = run(
      kernel("and.b64 %d1, %i, 3; shl.b64 %d1, %d1, 2; mov.u64 %d2, table; add.s64 %d2, %d2, %d1;\n"
             "ld.const.u32 %r1, [%d2]; ld.global.u64 %d3, [pointer]; ld.u32 %r2, [%d3];\n"
             "add.u32 %r0, %r1, %r2;\n" +
                 std::string(kStore),
             ".const .align 4 .b32 table[4] = {1, 20, 300, 4000};\n"
             ".global .align 4 .b32 words[2] = {0x10000, 0x20000};\n"
             ".global .align 8 .b64 pointer = generic(words)+4;\n"),
      32);
  const uint32_t table[] = {1, 20, 300, 4000};
  for (uint32_t i = 0; i < 32; ++i) EXPECT_EQ(got[i], table[i % 4] + 0x20000);
}

TEST_F(Kernels, DynamicSharedMemoryComesBehindTheStatic) {
  const auto got = run(kernel(".shared .align 4 .b32 fixed[8];\n"
                              "st.shared.u32 [fixed], 11; mov.u32 %r1, more; shl.b32 %r2, %t, 2; "
                              "add.u32 %r1, %r1, %r2;\n"
                              "st.shared.u32 [%r1], %t; bar.sync 0; ld.shared.u32 %r3, [fixed]; "
                              "ld.shared.u32 %r0, [%r1];\n"
                              "add.u32 %r0, %r0, %r3;\n" +
                                  std::string(kStore),
                              ".extern .shared .align 128 .b8 more[];\n"),
                       64, 1, 256);
  for (uint32_t i = 0; i < 64; ++i) EXPECT_EQ(got[i], i + 11);
}

TEST_F(Kernels, AtomicsOfManyBlocks) {
  const auto got = run(
      kernel("atom.global.add.u32 %r1, [%out], 1; red.global.max.u32 [%out+4], %t;\n"
             "red.relaxed.sys.global.xor.b32 [%out+8], 3; atom.add.noftz.bf16x2 %r2, [%out+12], "
             "0x3f803f80;\n"
             "red.global.add.f32 [%out+16], 0f3F800000; atom.global.inc.u32 %r3, [%out+20], 9;\n"),
      64, 500);
  const uint32_t start = 0xdeadbeef;
  EXPECT_EQ(got[0], start + 64 * 500);
  EXPECT_EQ(got[1], start);
  EXPECT_EQ(got[2], start);
  EXPECT_EQ(got[5], (64 * 500 - 1) % 10);
}

TEST_F(Machine, MessagesBetweenGpus) {
  // GPU 1 stores data, then a flag with release; GPU 0 waits for it with acquire and adds.
  const std::string text =
      ptx_head() +
      ".visible .entry send(.param .u64 data, .param .u64 flag)\n{\n.reg .b64 %d<4>; .reg .b32 %t; "
      ".reg .pred %p;\n"
      "ld.param.u64 %d0, [data]; ld.param.u64 %d1, [flag]; mov.u32 %t, %tid.x; cvt.u64.u32 %d2, "
      "%t; shl.b64 %d2, %d2, 2;\n"
      "add.s64 %d2, %d2, %d0; st.global.u32 [%d2], %t; bar.sync 0; setp.ne.u32 %p, %t, 0; @%p bra "
      "END;\n"
      "st.release.sys.global.u32 [%d1], 1;\nEND: ret;\n}\n"
      ".visible .entry receive(.param .u64 data, .param .u64 flag, .param .u64 sum)\n{\n"
      ".reg .b64 %d<4>; .reg .b32 %t, %r; .reg .pred %p;\n"
      "ld.param.u64 %d0, [data]; ld.param.u64 %d1, [flag]; ld.param.u64 %d3, [sum]; mov.u32 %t, "
      "%tid.x;\n"
      "WAIT: ld.acquire.sys.global.u32 %r, [%d1]; setp.eq.u32 %p, %r, 0; @%p bra WAIT;\n"
      "cvt.u64.u32 %d2, %t; shl.b64 %d2, %d2, 2; add.s64 %d2, %d2, %d0; ld.global.u32 %r, [%d2];\n"
      "red.global.add.u32 [%d3], %r; ret;\n}\n";
  CUdeviceptr sum = upload(std::vector<uint32_t>(1, 0));
  CUdeviceptr data = upload(std::vector<uint32_t>(256, 0)),
              flag = upload(std::vector<uint32_t>(1, 0));
  CUcontext first = nullptr;
  TW_CU(cu.cuCtxGetCurrent(&first));
  launch(function(load(text), "receive"), 1, 256, {&data, &flag, &sum});
  use(1);
  TW_CU(cu.cuCtxEnablePeerAccess(first, 0));
  launch(function(load(text), "send"), 1, 256, {&data, &flag});
  synchronize();
  use(0);
  synchronize();
  EXPECT_EQ(download<uint32_t>(sum, 1)[0], 255u * 256 / 2);
}

TEST_F(Machine, StreamsEventsAndGraphs) {
  const std::string text = kernel(
      "ld.global.u32 %r0, [%out]; mul.lo.u32 %r0, %r0, 3; add.u32 %r0, %r0, 1; st.global.u32 "
      "[%out], %r0;");
  const CUfunction step = function(load(text), "run");
  CUdeviceptr word = upload(std::vector<uint32_t>(1, 1));
  CUstream a = nullptr, b = nullptr;
  CUevent done = nullptr;
  TW_CU(cu.cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
  TW_CU(cu.cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
  TW_CU(cu.cuEventCreate(&done, CU_EVENT_DISABLE_TIMING));
  launch(step, 1, 1, {&word}, 0, a);
  TW_CU(cu.cuEventRecord(done, a));
  TW_CU(cu.cuStreamWaitEvent(b, done, 0));
  launch(step, 1, 1, {&word}, 0, b);
  TW_CU(cu.cuStreamSynchronize(b));
  EXPECT_EQ(cu.cuStreamQuery(b), CUDA_SUCCESS);
  EXPECT_EQ(download<uint32_t>(word, 1)[0], 13u);
  CUgraph graph = nullptr;
  CUgraphExec instance = nullptr;
  TW_CU(cu.cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  launch(step, 1, 1, {&word}, 0, a);
  launch(step, 1, 1, {&word}, 0, a);
  TW_CU(cu.cuStreamEndCapture(a, &graph));
  EXPECT_EQ(download<uint32_t>(word, 1)[0], 13u);
  TW_CU(cu.cuGraphInstantiate(&instance, graph, 0));
  TW_CU(cu.cuGraphLaunch(instance, a));
  TW_CU(cu.cuGraphLaunch(instance, a));
  TW_CU(cu.cuStreamSynchronize(a));
  EXPECT_EQ(download<uint32_t>(word, 1)[0], 13u * 81 + 27 + 9 + 3 + 1);
  TW_CU(cu.cuGraphExecDestroy(instance));
  TW_CU(cu.cuGraphDestroy(graph));
  TW_CU(cu.cuEventDestroy(done));
  TW_CU(cu.cuStreamDestroy(a));
  TW_CU(cu.cuStreamDestroy(b));
}

// ---- Reports: each in a process of its own, which ends with status 86 -----------------------

constexpr int kReported = 86;

/// A test's kernels within a process that is to end.
class Doomed : public Kernels {
 public:
  void TestBody() override {}
  void run_to_the_end(const std::string& text, unsigned threads, unsigned blocks) {
    use(0);
    run(text, threads, blocks);
  }
};

class Reports : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  /// Runs the kernel with small settings, which are read when the driver is loaded.
  static void die(const std::string& text, unsigned threads, unsigned blocks = 1) {
    ::setenv("TW_VGPU_ON_REPORT", "exit", 1);
    ::setenv("TW_VGPU_HANG", "1", 1);
    ::setenv("TW_VGPU_SMS", "1", 1);
    ::setenv("TW_VGPU", "2", 1);
    Doomed().run_to_the_end(text, threads, blocks);
    std::_Exit(0);
  }
};

TEST_F(Reports, AddressesOutOfBounds) {
  EXPECT_EXIT(die(kernel("add.s64 %d1, %out, 128; st.global.u32 [%d1], %t;"), 32),
              ::testing::ExitedWithCode(kReported),
              "illegal_address.*GPU 0, block \\(0,0,0\\), warp 0: lane 0: a store of 4 bytes.*0 "
              "bytes after the end of device allocation 1 of 128 bytes");
  EXPECT_EXIT(die(kernel("ld.shared.u32 %r0, [4];"), 32), ::testing::ExitedWithCode(kReported),
              "shared address 4");
}

TEST_F(Reports, Misalignment) {
  EXPECT_EXIT(die(kernel("add.s64 %d1, %out, 2; ld.global.u32 %r0, [%d1];"), 32),
              ::testing::ExitedWithCode(kReported), "misaligned_address.*no multiple of 4");
}

TEST_F(Reports, Traps) {
  EXPECT_EXIT(die(kernel("setp.eq.u32 %p1, %t, 33; @%p1 trap;"), 64),
              ::testing::ExitedWithCode(kReported), "trap: GPU 0, block \\(0,0,0\\), warp 1");
}

TEST_F(Reports, LanesMissingAtAnAlignedInstruction) {
  EXPECT_EXIT(die(kernel("setp.lt.u32 %p1, %t, 16; @%p1 bra A; bar.sync 0; bra END; A: "
                         "bar.warp.sync -1; END:"),
                  32),
              ::testing::ExitedWithCode(kReported),
              "lanes wait for each other at different instructions");
}

TEST_F(Reports, BarrierThatNeverCompletes) {
  EXPECT_EXIT(die(kernel("setp.lt.u32 %p1, %t, 32; @%p1 bra A; bar.sync 1, 96; bra END; A: "
                         "bar.sync 2, 64; END:"),
                  64),
              ::testing::ExitedWithCode(kReported),
              "deadlock: every warp waits at a barrier:.*bar.sync 1, 96");
}

TEST_F(Reports, SpinOnABlockThatIsNotResident) {
  // One SM holds 32 blocks; the first waits for the 40th.
  EXPECT_EXIT(die(kernel("mov.u32 %r1, %ctaid.x; setp.eq.u32 %p1, %r1, 39; @%p1 "
                         "st.release.gpu.global.u32 [%out], 1;\n"
                         "WAIT: ld.acquire.gpu.global.u32 %r0, [%out]; setp.ne.u32 %p2, %r0, 1; "
                         "@%p2 bra WAIT;"),
                  32, 40),
              ::testing::ExitedWithCode(kReported),
              "deadlock: no warp has stored anything.*ld.acquire.gpu");
}

}  // namespace
}  // namespace tw::test
