#include "lib/device/pack.h"

#include <cstring>

#include "tilewire/tile/impl/cpu/tile_pack.h"
#include "tilewire/tile/packed.h"

namespace tw {
namespace {

void write_header(tw_type_t type, size_t k, size_t n, void* packed) {
  const PackedHeader header{kPackedMagic, kPackedVersion, PackedFor::kCpu, type, 0, k, n};
  std::memset(packed, 0, kPackedHeader);
  std::memcpy(packed, &header, sizeof header);
}

}  // namespace

void pack_weights(const Operand& b, void* packed) {
  write_header(b.type, b.rows, b.cols, packed);
  cpu_portable::pack_right(static_cast<char*>(packed) + kPackedHeader, panel_bytes(b.rows, b.type),
                           b, 0, 0, b.rows, b.cols);
}

void pack_header(size_t k, size_t n, void* packed) { write_header(TW_BF16, k, n, packed); }

void pack_columns(void* packed, size_t first_col, size_t cols, const uint16_t* columns,
                  size_t stride) {
  PackedHeader header;
  std::memcpy(&header, packed, sizeof header);
  const size_t k = header.k, panel = panel_bytes(k, TW_BF16) / sizeof(uint16_t);
  auto* const to = reinterpret_cast<uint16_t*>(static_cast<char*>(packed) + kPackedHeader);
  for (size_t c = 0; c < cols; ++c) {
    const size_t col = first_col + c;
    uint16_t* const in_panel = to + col / kPanelCols * panel;
    for (size_t i = 0; i < k; ++i)
      in_panel[panel_place(i, col % kPanelCols, TW_BF16)] = columns[c * stride + i];
  }
}

}  // namespace tw
