// Products with vectors: a few rows times 16 or 32 columns, sums in registers, K in order. A row's
// sums are the same whatever rows stand beside it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/cpu/tile_elements.h"
#include "tilewire/tile/impl/cpu/tile_mma.h"
#include "tilewire/tile/impl/cpu/vector.h"

namespace TW_NS {

/// a * b + c: rounded once where the target has such an instruction.
TW_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
#if defined(TW_TARGET_VECTOR_512)
  return bits_as<Floats>(
      _mm512_fmadd_ps(bits_as<__m512>(a), bits_as<__m512>(b), bits_as<__m512>(c)));
#elif defined(TW_TARGET_VECTOR_256)
  return bits_as<Floats>(
      _mm256_fmadd_ps(bits_as<__m256>(a), bits_as<__m256>(b), bits_as<__m256>(c)));
#else
  return a * b + c;
#endif
}

/// One way to multiply: what is loaded of A and B for kDepth elements of K.
/// bf16 pairs, with the target's dot product.
#if defined(__AVX512BF16__) && defined(TW_TARGET_VECTOR_512)
struct DotBf16 {
  using A = uint16_t;
  static constexpr size_t kDepth = 2, kBytes = 64;  // k, and bytes of B's tile for them
  struct Right {
    __m512bh pairs;
  };
  TW_INLINE static Right right(const char* b) { return {bits_as<__m512bh>(load_vector<Words>(b))}; }
  TW_INLINE static Floats add(Floats sum, const A* a, Right b) {
    uint32_t pair;
    __builtin_memcpy(&pair, a, sizeof pair);
    const Words both = splat<Words>(pair);
    return bits_as<Floats>(
        _mm512_dpbf16_ps(bits_as<__m512>(sum), bits_as<__m512bh>(both), b.pairs));
  }
};
#endif

/// bf16 pairs, converted.
struct WidenedBf16 {
  using A = float;
  static constexpr size_t kDepth = 2, kBytes = 64;
  struct Right {
    Floats even, odd;
  };
  TW_INLINE static Right right(const char* b) {
    const Words pairs = load_vector<Words>(b);
    return {bits_as<Floats>(pairs << 16), bits_as<Floats>(pairs & 0xffff0000u)};
  }
  TW_INLINE static Floats add(Floats sum, const A* a, const Right& b) {
    sum = multiply_add(splat<Floats>(a[0]), b.even, sum);
    return multiply_add(splat<Floats>(a[1]), b.odd, sum);
  }
};

/// fp16, converted, and fp32.
template <tw_type_t type>
struct Widened {
  using A = float;
  static constexpr size_t kDepth = 1, kBytes = kPanelTileCols * packed_element(type);
  struct Right {
    Floats value;
  };
  TW_INLINE static Right right(const char* b) { return {load_floats<type>(b)}; }
  TW_INLINE static Floats add(Floats sum, const A* a, const Right& b) {
    return multiply_add(splat<Floats>(a[0]), b.value, sum);
  }
};

/// The register block: rows x (tiles of 16 columns), by the number of vector registers.
struct VectorBlock {
#if defined(TW_TARGET_VECTOR_512)
  static constexpr size_t kRows = 12, kTiles = 2;
#elif defined(TW_TARGET_VECTOR_256)
  static constexpr size_t kRows = 6, kTiles = 1;
#else
  static constexpr size_t kRows = 2, kTiles = 1;
#endif
  static constexpr size_t kTileVectors = kPanelTileCols / kLanes;
  static constexpr size_t kVectors = kTiles * kTileVectors;
};

/// sums (rows of a panel) += `rows` rows of A times tiles of B. `b`: the first tile of the block's
/// columns.
template <class Way, size_t rows>
TW_FN void multiply_block(float* sums, const typename Way::A* a, const char* b, size_t ks,
                          bool first) {
  using B = VectorBlock;
  constexpr size_t kTileBytes = kPackedK / Way::kDepth * Way::kBytes;
  constexpr size_t kVectorOfB = Way::kBytes / B::kTileVectors;
  Floats sum[rows][B::kVectors];
  for (size_t r = 0; r < rows; ++r)
    for (size_t v = 0; v < B::kVectors; ++v)
      sum[r][v] = first ? Floats{} : load_vector<Floats>(sums + r * kPanelCols + v * kLanes);
  for (size_t k = 0; k < ks; k += kPackedK, b += 2 * kTileBytes) {
    const size_t end = ks - k < kPackedK ? ks - k : kPackedK;
    for (size_t in = 0; in < end; in += Way::kDepth) {
      const char* const at = b + in / Way::kDepth * Way::kBytes;
      typename Way::Right right[B::kVectors];
      for (size_t v = 0; v < B::kVectors; ++v)
        right[v] =
            Way::right(at + v / B::kTileVectors * kTileBytes + v % B::kTileVectors * kVectorOfB);
#pragma GCC unroll 16
      for (size_t r = 0; r < rows; ++r)
        for (size_t v = 0; v < B::kVectors; ++v)
          sum[r][v] = Way::add(sum[r][v], a + r * kCpuTile.k + k + in, right[v]);
    }
  }
  for (size_t r = 0; r < rows; ++r)
    for (size_t v = 0; v < B::kVectors; ++v)
      store_vector(sums + r * kPanelCols + v * kLanes, sum[r][v]);
}

/// `rows` rows at a time while there are so many, then half as many.
template <class Way, size_t rows>
TW_FN void multiply_rows(const MmaStep& s, const char* b, float* sums, size_t i) {
  using A = typename Way::A;
  for (; i + rows <= s.rows; i += rows)
    multiply_block<Way, rows>(sums + i * kPanelCols, static_cast<const A*>(s.a) + i * kCpuTile.k, b,
                              s.ks, s.first);
  if constexpr (rows > 1)
    multiply_rows<Way, (rows > 8 ? 8 : rows > 4 ? 4 : rows / 2)>(s, b, sums, i);
}

template <class Way>
TW_FN void multiply_vectors(const MmaStep& s) {
  using B = VectorBlock;
  constexpr size_t kTileBytes = kPackedK / Way::kDepth * Way::kBytes;
  for (size_t p = 0; p < s.panels; ++p)
    for (size_t t = 0; t < 2; t += B::kTiles)
      multiply_rows<Way, B::kRows>(s, s.b + p * s.panel_bytes + t * kTileBytes,
                                   s.sums + p * s.panel_rows * kPanelCols + t * kPanelTileCols, 0);
}

}  // namespace TW_NS
