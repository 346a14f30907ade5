// Tensor copies: where each byte of a box lies in shared memory, by the manual's figures of
// swizzling and not by the simulator's own words for it; what lies outside; stores and reductions
// back.
#include "tests/vgpu/gpu_test.h"

namespace tw::test {
namespace {

constexpr uint32_t kRows = 20, kColumns = 96;  // of the tensor, 32-bit elements
constexpr uint32_t kBoxRows = 16;

struct Pattern {
  CUtensorMapSwizzle swizzle;
  uint32_t columns;  // of a box: its row is as wide as the pattern
};

class Tensors : public GpuTest, public ::testing::WithParamInterface<Pattern> {
 protected:
  CUtensorMap map_of(CUdeviceptr tensor) {
    CUtensorMap map;
    const cuuint64_t extents[] = {kColumns, kRows}, strides[] = {kColumns * 4};
    const cuuint32_t box[] = {GetParam().columns, kBoxRows}, steps[] = {1, 1};
    EXPECT_EQ(cu.cuTensorMapEncodeTiled(
                  &map, CU_TENSOR_MAP_DATA_TYPE_UINT32, 2, reinterpret_cast<void*>(tensor), extents,
                  strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, GetParam().swizzle,
                  CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
              CUDA_SUCCESS);
    return map;
  }

  /// Which 16 bytes of a row hold its piece `piece`: the manual's tables. 128 bytes: the row's
  /// number in eight exchanges them; 64: two rows share a line of 128 bytes, so every second row
  /// counts; 32: every fourth.
  static uint32_t place(uint32_t row, uint32_t piece) {
    switch (GetParam().swizzle) {
      case CU_TENSOR_MAP_SWIZZLE_128B:
        return piece ^ (row % 8);
      case CU_TENSOR_MAP_SWIZZLE_64B:
        return piece ^ (row / 2 % 4);
      case CU_TENSOR_MAP_SWIZZLE_32B:
        return piece ^ (row / 4 % 2);
      default:
        return piece;
    }
  }
};

// One thread loads the box at (x, y), all of them copy it out as it lies; then, shared memory being
// what `stage` holds, it is stored at the same place of a second tensor or added to it.
std::string text() {
  return ptx_head("sm_90a") +
         ".visible .entry run(.param .align 128 .b8 from[128], .param .align 128 .b8 to[128],\n"
         " .param .u64 raw, .param .u32 x, .param .u32 y, .param .u32 bytes, .param .u32 adds)\n{\n"
         ".shared .align 1024 .b8 stage[2048]; .shared .align 8 .b64 full;\n"
         ".reg .b64 %d<6>; .reg .b32 %t, %r<10>; .reg .pred %p<4>; .reg .b16 %h;\n"
         "mov.b64 %d0, from; mov.b64 %d1, to; ld.param.u64 %d2, [raw]; ld.param.u32 %r0, [x];\n"
         "ld.param.u32 %r1, [y]; ld.param.u32 %r2, [bytes]; ld.param.u32 %r3, [adds];\n"
         "mov.u32 %t, %tid.x; mov.u32 %r4, stage; mov.u32 %r5, full; setp.ne.u32 %p0, %t, 0;\n"
         "@%p0 bra READY; mbarrier.init.shared::cta.b64 [%r5], 1;\n"
         "fence.mbarrier_init.release.cluster;\n"
         "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r5], %r2;\n"
         "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
         "[%r4], [%d0, {%r0, %r1}], [%r5];\n"
         "READY: bar.sync 0;\n"
         "WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r5], 0; @!%p1 bra WAIT;\n"
         "mov.u32 %r6, %t;\n"
         "NEXT: setp.ge.u32 %p2, %r6, %r2; @%p2 bra COPIED;\n"
         "add.u32 %r7, %r4, %r6; ld.shared.u8 %h, [%r7]; cvt.u64.u32 %d3, %r6;\n"
         "add.s64 %d3, %d2, %d3; st.global.u8 [%d3], %h; add.u32 %r6, %r6, 64; bra NEXT;\n"
         "COPIED: bar.sync 0; @%p0 bra END; setp.ne.u32 %p3, %r3, 0; @%p3 bra ADD;\n"
         "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%d1, {%r0, %r1}], [%r4];\n"
         "bra DONE;\n"
         "ADD: cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group "
         "[%d1, {%r0, %r1}], [%r4];\n"
         "DONE: cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;\n"
         "END: ret;\n}\n";
}

TEST_P(Tensors, BoxesLieAsTheManualSays) {
  const uint32_t columns = GetParam().columns, row_bytes = columns * 4;
  const CUfunction run = function(load(text()), "run");
  std::vector<uint32_t> values(kRows * kColumns);
  for (uint32_t i = 0; i < values.size(); ++i) values[i] = i + 1;
  const CUdeviceptr from = upload(values);
  // Within, and over each edge.
  const int corners[][2] = {{0, 0}, {16, 3}, {-8, -2}, {80, 10}};
  for (const auto& [x, y] : corners)
    for (uint32_t adds = 0; adds < 2; ++adds) {
      const CUdeviceptr to = upload(std::vector<uint32_t>(values.size(), 1000));
      CUdeviceptr raw = upload(std::vector<uint32_t>(columns * kBoxRows, 0xdead));
      CUtensorMap from_map = map_of(from), to_map = map_of(to);
      int column0 = x, row0 = y;
      uint32_t bytes = row_bytes * kBoxRows;
      launch(run, 1, 64, {&from_map, &to_map, &raw, &column0, &row0, &bytes, &adds});
      synchronize();
      const auto got = download<uint32_t>(raw, columns * kBoxRows);
      const auto stored = download<uint32_t>(to, values.size());
      std::vector<uint32_t> want(values.size(), 1000);
      for (uint32_t row = 0; row < kBoxRows; ++row)
        for (uint32_t column = 0; column < columns; ++column) {
          const int at_row = y + static_cast<int>(row), at_column = x + static_cast<int>(column);
          const bool is_inside = at_row >= 0 && at_row < static_cast<int>(kRows) &&
                                 at_column >= 0 && at_column < static_cast<int>(kColumns);
          const auto at = static_cast<size_t>(at_row) * kColumns + static_cast<size_t>(at_column);
          const uint32_t in_shared =
              (row * row_bytes + place(row, column / 4) * 16) / 4 + column % 4;
          ASSERT_EQ(got[in_shared], is_inside ? values[at] : 0)
              << x << "," << y << ": " << row << "," << column;
          if (is_inside) want[at] = values[at] + (adds != 0 ? 1000 : 0);
        }
      ASSERT_EQ(stored, want) << x << "," << y << (adds != 0 ? " added" : " stored");
    }
}
INSTANTIATE_TEST_SUITE_P(Swizzles, Tensors,
                         ::testing::Values(Pattern{CU_TENSOR_MAP_SWIZZLE_NONE, 16},
                                           Pattern{CU_TENSOR_MAP_SWIZZLE_32B, 8},
                                           Pattern{CU_TENSOR_MAP_SWIZZLE_64B, 16},
                                           Pattern{CU_TENSOR_MAP_SWIZZLE_128B, 32}));

}  // namespace
}  // namespace tw::test
