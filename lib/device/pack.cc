#include "lib/device/pack.h"

#include <algorithm>
#include <cstring>

#include "tilewire/tile/packed.h"

namespace tw {
namespace {

/// Panel by panel, row of K by row of K; `T` is an element's bits.
template <class T>
void pack_elements(const Operand& b, T* out) {
  const T* const in = static_cast<const T*>(b.data);
  const bool pairs = b.type == TW_BF16;
  const size_t k = padded_k(b.rows);
  for (size_t panel = 0; panel * kPanelCols < b.cols; ++panel) {
    T* const to = out + panel * k * kPanelCols;
    const size_t first = panel * kPanelCols, cols = std::min(kPanelCols, b.cols - first);
    for (size_t i = 0; i < b.rows; ++i)
      for (size_t j = 0; j < cols; ++j) {
        const size_t from =
            b.layout == MatrixLayout::kCols ? (first + j) * b.stride + i : i * b.stride + first + j;
        to[pairs ? (i / 2 * kPanelCols + j) * 2 + i % 2 : i * kPanelCols + j] = in[from];
      }
  }
}

}  // namespace

void pack_weights(const Operand& b, void* packed) {
  const PackedHeader header{
      kPackedMagic, kPackedVersion, PackedFor::kCpu, static_cast<uint32_t>(b.type), 0,
      b.rows,       b.cols};
  char* const out = static_cast<char*>(packed);
  std::memset(out, 0, packed_bytes(PackedFor::kCpu, b.rows, b.cols, b.type));
  std::memcpy(out, &header, sizeof header);
  if (b.type == TW_FP32)
    pack_elements(b, reinterpret_cast<uint32_t*>(out + kPackedHeader));
  else
    pack_elements(b, reinterpret_cast<uint16_t*>(out + kPackedHeader));
}

}  // namespace tw
