// Matrix multiplication by a warpgroup: D (64 x 128, fp32, in registers) += A (64 x 16) times
// B (16 x 128), both in shared memory. Thread t of the warpgroup has, for j = 0 .. 15, columns
// 8 j + 2 (t % 4) and the next one of row 16 (t / 32) + t % 32 / 4 in d[4 j], d[4 j + 1], and of
// the row 8 below in d[4 j + 2], d[4 j + 3].
//
// ptxas lets multiplications run on only while it sees all their registers: what takes part is
// inlined, and between `wgmma` and `wgmma_wait` nothing else touches d.
#pragma once

#include <cstdint>

#include "tilewire/tile/impl/gpu/ptx/mbarrier.h"

namespace TW_NS::ptx {

/// Describes rows of 128 bytes of K, one after the other, 16-byte chunk q of row r at q ^ (r % 8):
/// groups of 8 rows 1024 bytes apart, 128-byte swizzle. Multiples of 1024 bytes plus 32 for every
/// 16 elements of K.
TW_FN uint64_t wgmma_matrix(const void* at) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62, kGroupStride = uint64_t{1024 >> 4} << 32;
  constexpr uint64_t kLeadingUnused = uint64_t{1} << 16;
  return kSwizzle128 | kGroupStride | kLeadingUnused | (in_shared(at) & 0x3ffff) >> 4;
}

/// Before the first multiplication after d was written, or the group's first.
TW_FN void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

TW_FN void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

/// Until at most one group still runs.
TW_FN void wgmma_wait_but_one() { asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory"); }

#define TW_SUMS(d)                                                                                \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),  \
      "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),  \
      "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),  \
      "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),  \
      "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]),  \
      "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),  \
      "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])

/// Until no group runs: d may be read.
TW_FN void wgmma_wait(float (&d)[64]) {
  asm volatile("wgmma.wait_group.sync.aligned 0;" : TW_SUMS(d) : : "memory");
}

#define TW_WGMMA(TYPE)                                                                     \
  asm volatile(                                                                            \
      "{\n"                                                                                \
      ".reg .pred p;\n"                                                                    \
      "setp.ne.b32 p, %66, 0;\n"                                                           \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE                         \
      "\n"                                                                                 \
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,\n"           \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31,\n"  \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47,\n"  \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63},\n" \
      "%64, %65, p, 1, 1, 0, 0;\n"                                                         \
      "}\n"                                                                                \
      : TW_SUMS(d)                                                                         \
      : "l"(a), "l"(b), "r"(1)                                                             \
      : "memory")

TW_FN void wgmma_bf16(float (&d)[64], uint64_t a, uint64_t b) { TW_WGMMA("bf16"); }
TW_FN void wgmma_fp16(float (&d)[64], uint64_t a, uint64_t b) { TW_WGMMA("f16"); }

#undef TW_WGMMA
#undef TW_SUMS

/// All warps of a warpgroup: gives back, or takes, registers.
template <int registers>
TW_FN void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
TW_FN void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}

}  // namespace TW_NS::ptx
