#include "lib/device/pack.h"

#include <cstring>

#include "tilewire/tile/impl/cpu/tile_pack.h"
#include "tilewire/tile/packed.h"

namespace tw {

void pack_weights(const Operand& b, void* packed) {
  const PackedHeader header{kPackedMagic, kPackedVersion, PackedFor::kCpu, b.type, 0,
                            b.rows,       b.cols};
  std::memset(packed, 0, kPackedHeader);
  std::memcpy(packed, &header, sizeof header);
  cpu_portable::pack_right(static_cast<char*>(packed) + kPackedHeader, panel_bytes(b.rows, b.type),
                           b, 0, 0, b.rows, b.cols);
}

}  // namespace tw
