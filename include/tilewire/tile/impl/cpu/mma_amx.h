// bf16 products with the tile registers of AMX: 16 rows x 32 k times 32 k x 16 columns.
//
// A block of sums (32 x 32) stays in four tile registers over a step of K. Of the step's operands
// the 32 rows of A (32 KiB) stay in the L1 cache, and B's panel passes by with loads that are not
// kept there: so a step may be twice as long, and sums are moved half as often, as with both in L1
// (13 % faster). Meanwhile the next rows of A and the next step of B are fetched, evenly spread.
//
// Tile registers: 0-3 sums, 4-5 A, 6-7 B.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "tilewire/tile/impl/cpu/tile_mma.h"

namespace TW_NS {

/// What LDTILECFG reads.
struct alignas(64) AmxConfiguration {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

/// By rows of A. Constants: to g++ the intrinsic reads 8 bytes, and it leaves out stores to the
/// rest.
struct AmxConfigurations {
  constexpr AmxConfigurations() {
    for (int rows = 0; rows <= 16; ++rows)
      for (int i = 0; i < 8; ++i) {
        of[rows].row_bytes[i] = 64;
        of[rows].rows[i] = static_cast<uint8_t>(i < 6 ? rows : 16);
      }
  }
  AmxConfiguration of[17];
};
inline constexpr AmxConfigurations kAmxConfigurations;

class AmxTiles {
 public:
  AmxTiles() = default;
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
  TW_FN ~AmxTiles() {
    if (rows_ != 0) _tile_release();
  }

  TW_FN void multiply(const MmaStep& s) {
    // The loads' intrinsics do not say that they read what was stored before.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    configure(s.rows < 16 ? static_cast<int>(s.rows) : 16);
    const size_t row_blocks = divide_up(s.rows, 32);
    if (s.again) return all_rows<0>(s);
    if (s.rows <= 16) return rows_of<1, 0, 32>(s, 0);
    if (row_blocks == 1) return all_rows<32>(s);
    if (row_blocks == 2) return all_rows<16>(s);
    if (row_blocks <= 4) return all_rows<8>(s);
    if (row_blocks <= 8) return all_rows<4>(s);
    all_rows<2>(s);
  }

  /// Tile registers of `rows` rows for A and sums.
  TW_FN void configure(int rows) {
    if (rows_ == rows) return;
    rows_ = rows;
    _tile_loadconfig(&kAmxConfigurations.of[rows]);
  }

 private:
  static constexpr size_t kSumBytes = kPanelCols * sizeof(float);
  static constexpr size_t kTileBytes = 1024;

  /// `ahead_b`: lines of B's next step that a block fetches with each group of 32 k, so that all
  /// blocks together fetch all.
  template <int ahead_b>
  TW_FN static void all_rows(const MmaStep& s) {
    for (size_t i = 0; i < s.rows; i += 32) {
      if (s.rows - i > 16)
        rows_of<2, 4, ahead_b>(s, i);
      else
        rows_of<1, 4, ahead_b>(s, i);
    }
  }

  /// 16 or 32 rows from row `i`.
  template <int row_tiles, int ahead_a, int ahead_b>
  TW_FN static void rows_of(const MmaStep& s, size_t i) {
    const size_t groups = divide_up(s.ks, kPackedK), stride = s.a_stride * 2;
    const char* const a = static_cast<const char*>(s.a) + i * stride;
    for (size_t p = 0; p < s.panels; ++p) {
      const char* const b = s.b + p * s.panel_bytes;
      block<row_tiles, ahead_a, ahead_b>(a, stride, b, s.sums + (p * s.panel_rows + i) * kPanelCols,
                                         groups, s.first, a + (32 + p * ahead_a) * stride,
                                         b + s.ahead + i / 32 * ahead_b * 64 * groups);
    }
  }

  /// `ahead_a`: rows of A from next_a on that are fetched meanwhile.
  template <int row_tiles, int ahead_a, int ahead_b>
  TW_FN static void block(const char* a, size_t stride, const char* b, float* sums, size_t groups,
                          bool first, const char* next_a, const char* next_b) {
    begin<row_tiles>(sums, first);
    for (size_t k = 0; k < groups; ++k) {
      _tile_loadd(4, a, stride);
      _tile_stream_loadd(6, b, 64);
      _tile_stream_loadd(7, b + kTileBytes, 64);
      if (row_tiles == 2) _tile_loadd(5, a + 16 * stride, stride);
      for (int i = 0; i < ahead_a; ++i) __builtin_prefetch(next_a + i * stride);
      for (int i = 0; i < ahead_b; ++i) __builtin_prefetch(next_b + i * 64, 0, 2);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if (row_tiles == 2) {
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      a += 64;
      b += 2 * kTileBytes;
      next_a += 64;
      next_b += ahead_b * 64;
    }
    end<row_tiles>(sums);
  }

  template <int row_tiles>
  TW_FN static void begin(const float* sums, bool first) {
    if (first) {
      _tile_zero(0);
      _tile_zero(1);
      if (row_tiles == 1) return;
      _tile_zero(2);
      _tile_zero(3);
    } else {
      _tile_loadd(0, sums, kSumBytes);
      _tile_loadd(1, sums + 16, kSumBytes);
      if (row_tiles == 1) return;
      _tile_loadd(2, sums + 16 * kPanelCols, kSumBytes);
      _tile_loadd(3, sums + 16 * kPanelCols + 16, kSumBytes);
    }
  }
  template <int row_tiles>
  TW_FN static void end(float* sums) {
    _tile_stored(0, sums, kSumBytes);
    _tile_stored(1, sums + 16, kSumBytes);
    if (row_tiles == 1) return;
    _tile_stored(2, sums + 16 * kPanelCols, kSumBytes);
    _tile_stored(3, sums + 16 * kPanelCols + 16, kSumBytes);
  }

  int rows_ = 0;  // of A and sums in the configuration; 0: none is loaded
};

}  // namespace TW_NS
