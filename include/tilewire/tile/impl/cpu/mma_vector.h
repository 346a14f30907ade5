// Products with vectors: a few rows times 16 or 32 columns, sums in registers, K in order. A row's
// sums are the same whatever rows stand beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

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
  using Left = __m512bh;
  TW_INLINE static Left left(const A* a) {
    return bits_as<__m512bh>(splat<Words>(load_vector<uint32_t>(a)));
  }
  TW_INLINE static Floats add(Floats sum, Left a, Right b) {
    return bits_as<Floats>(_mm512_dpbf16_ps(bits_as<__m512>(sum), a, b.pairs));
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
  struct Left {
    Floats even, odd;
  };
  TW_INLINE static Left left(const A* a) { return {splat<Floats>(a[0]), splat<Floats>(a[1])}; }
  TW_INLINE static Floats add(Floats sum, const Left& a, const Right& b) {
    return multiply_add(a.odd, b.odd, multiply_add(a.even, b.even, sum));
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
  using Left = Floats;
  TW_INLINE static Left left(const A* a) { return splat<Floats>(a[0]); }
  TW_INLINE static Floats add(Floats sum, Left a, const Right& b) {
    return multiply_add(a, b.value, sum);
  }
};

/// Bytes ahead in B when it is met for the first time.
inline constexpr size_t kAheadOfB = 2048;

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

/// f(0), f(1) .. f(n - 1) with constants, so that what they index can be registers.
template <class F, size_t... i>
TW_INLINE void repeat(F f, std::index_sequence<i...> /*numbers*/) {
  (f(std::integral_constant<size_t, i>{}), ...);
}
template <size_t n, class F>
TW_INLINE void repeat(F f) {
  repeat(f, std::make_index_sequence<n>{});
}

/// sums (rows of a panel) += `rows` rows of A times tiles of B, whole groups of K (A and B are
/// padded with zeros). `b`: the first tile of the block's columns. `ahead`: bytes ahead in B that
/// are fetched, 0: none.
template <class Way, size_t rows, size_t ahead>
TW_FN void multiply_block(float* sums, const typename Way::A* a, const char* b, size_t groups,
                          bool first) {
  using B = VectorBlock;
  constexpr size_t kTileBytes = kPackedK / Way::kDepth * Way::kBytes;
  constexpr size_t kVectorOfB = Way::kBytes / B::kTileVectors;
  Floats sum[rows * B::kVectors];
  repeat<rows * B::kVectors>([&](auto i) {
    float* const at = sums + i / B::kVectors * kPanelCols + i % B::kVectors * kLanes;
    sum[i] = first ? Floats{} : load_vector<Floats>(at);
  });
  for (size_t k = 0; k < groups; ++k, b += 2 * kTileBytes) {
    for (size_t in = 0; in < kPackedK / Way::kDepth; ++in, a += Way::kDepth) {
      const char* const at = b + in * Way::kBytes;
      typename Way::Right right[B::kVectors];
      repeat<B::kVectors>([&](auto v) {
        right[v] =
            Way::right(at + v / B::kTileVectors * kTileBytes + v % B::kTileVectors * kVectorOfB);
      });
      if constexpr (ahead != 0)
        repeat<B::kTiles>([&](auto t) { __builtin_prefetch(at + t * kTileBytes + ahead); });
      repeat<rows>([&](auto r) {
        const typename Way::Left left = Way::left(a + r * kCpuTile.k);
        repeat<B::kVectors>([&](auto v) {
          constexpr size_t i = r * B::kVectors + v;
          sum[i] = Way::add(sum[i], left, right[v]);
        });
      });
    }
  }
  repeat<rows * B::kVectors>([&](auto i) {
    float* const at = sums + i / B::kVectors * kPanelCols + i % B::kVectors * kLanes;
    store_vector(at, sum[i]);
  });
}

/// Rows from `i`: `rows` at a time while there are so many, then fewer. The first block meets B for
/// the first time.
template <class Way, size_t rows>
TW_FN void multiply_rows(const MmaStep& s, const char* b, float* sums, size_t i) {
  const auto block = [&](auto ahead) {
    multiply_block<Way, rows, ahead>(sums + i * kPanelCols,
                                     static_cast<const typename Way::A*>(s.a) + i * kCpuTile.k, b,
                                     divide_up(s.ks, kPackedK), s.first);
  };
  if (i == 0 && rows <= s.rows) {
    block(std::integral_constant<size_t, kAheadOfB>{});
    i += rows;
  }
  for (; i + rows <= s.rows; i += rows) block(std::integral_constant<size_t, 0>{});
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
