#include "lib/device/pack.h"

#include <algorithm>
#include <cstring>

#include "tilewire/tile/impl/cpu/tile_pack.h"
#include "tilewire/tile/packed.h"

namespace tw {

void pack_weights(const Operand& b, void* packed) {
  const PackedHeader header{kPackedMagic, kPackedVersion, PackedFor::kCpu, b.type, 0,
                            b.rows,       b.cols};
  std::memset(packed, 0, kPackedHeader);
  std::memcpy(packed, &header, sizeof header);
  char* panel = static_cast<char*>(packed) + kPackedHeader;
  for (size_t col = 0; col < b.cols; col += kPanelCols, panel += panel_bytes(b.rows, b.type))
    cpu_portable::pack_right(panel, b, 0, col, b.rows, std::min(kPanelCols, b.cols - col));
}

}  // namespace tw
