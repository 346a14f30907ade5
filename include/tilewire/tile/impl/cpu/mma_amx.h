// bf16 products with the tile registers of AMX: 16 rows x 32 k times 32 k x 16 columns.
//
// Tile registers: 0-3 sums, 4-5 A, 6-7 B.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "tilewire/tile/impl/cpu/tile_mma.h"

namespace TW_NS {

class AmxTiles {
 public:
  AmxTiles() = default;
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
  TW_FN ~AmxTiles() {
    if (rows_ != 0) _tile_release();
  }

  TW_FN void multiply(const MmaStep& s) {
    configure(s.rows < 16 ? static_cast<int>(s.rows) : 16);
    if (s.rows <= 16) return few_rows(s);
    for (size_t i = 0; i < s.rows; i += 32) {
      for (size_t p = 0; p < s.panels; ++p) {
        if (s.rows - i > 16)
          block<2>(s, i, p);
        else
          block<1>(s, i, p);
      }
    }
  }

 private:
  static constexpr size_t kRowBytes = kCpuTile.k * 2;  // of A
  static constexpr size_t kSumBytes = kPanelCols * sizeof(float);
  static constexpr size_t kTileBytes = 1024;

  struct alignas(64) Configuration {
    uint8_t palette = 1, start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };

  TW_FN void configure(int rows) {
    if (rows_ == rows) return;
    rows_ = rows;
    Configuration c;
    for (int i = 0; i < 8; ++i) {
      c.row_bytes[i] = 64;
      c.rows[i] = static_cast<uint8_t>(i < 6 ? rows : 16);
    }
    _tile_loadconfig(&c);
  }

  /// 32 (16) rows from row `i`, times panel `p`.
  template <int row_tiles>
  TW_FN static void block(const MmaStep& s, size_t i, size_t p) {
    const char* a = static_cast<const char*>(s.a) + i * kRowBytes;
    const char* b = s.b + p * s.panel_bytes;
    char* const c = reinterpret_cast<char*>(s.sums + (p * s.panel_rows + i) * kPanelCols);
    if (s.first) {
      _tile_zero(0);
      _tile_zero(1);
      if (row_tiles == 2) {
        _tile_zero(2);
        _tile_zero(3);
      }
    } else {
      _tile_loadd(0, c, kSumBytes);
      _tile_loadd(1, c + 64, kSumBytes);
      if (row_tiles == 2) {
        _tile_loadd(2, c + 16 * kSumBytes, kSumBytes);
        _tile_loadd(3, c + 16 * kSumBytes + 64, kSumBytes);
      }
    }
    const size_t groups = divide_up(s.ks, kPackedK);
    for (size_t k = 0; k < groups; ++k) {
      _tile_loadd(4, a, kRowBytes);
      _tile_loadd(6, b, 64);
      _tile_loadd(7, b + kTileBytes, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if (row_tiles == 2) {
        _tile_loadd(5, a + 16 * kRowBytes, kRowBytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      a += 64;
      b += 2 * kTileBytes;
    }
    _tile_stored(0, c, kSumBytes);
    _tile_stored(1, c + 64, kSumBytes);
    if (row_tiles == 2) {
      _tile_stored(2, c + 16 * kSumBytes, kSumBytes);
      _tile_stored(3, c + 16 * kSumBytes + 64, kSumBytes);
    }
  }

  TW_FN static void few_rows(const MmaStep& s) {
    for (size_t p = 0; p < s.panels; ++p) block<1>(s, 0, p);
  }

  int rows_ = 0;  // of A and sums in the configuration; 0: none is loaded
};

}  // namespace TW_NS
