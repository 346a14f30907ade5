#include "perf/local/tile_loops.h"

#include "kernels/gemm/gemm.cu"

namespace TW_NS {

namespace {

/// Independent sums in registers.
template <class Add>
double multiply(size_t rounds, double flops, Add add) {
  constexpr size_t kSums = Target::kVectorBytes == 64 ? 24 : 10;
  Floats sums[kSums];
  volatile float first = 0;  // else they would all be known to be alike
  for (Floats& sum : sums) sum = splat<Floats>(first);
  for (size_t i = 0; i < rounds; ++i) repeat<kSums>([&](auto s) { sums[s] = add(sums[s]); });
  volatile float used = 0;
  for (const Floats& sum : sums) used = used + sum[0];
  return flops * static_cast<double>(kSums * rounds);
}

double multiply_fp32(size_t rounds) {
  const volatile float x = 1.25f, y = 0.5f;
  const auto a = splat<Floats>(x), b = splat<Floats>(y);
  return multiply(rounds, 2.0 * kLanes, [&](Floats sum) { return multiply_add(a, b, sum); });
}

double multiply_bf16(size_t rounds) {
#if defined(TW_TARGET_CPU_AMX)
  alignas(64) static const char zeros[1024] = {};
  AmxTiles tiles;
  tiles.configure(16);
  _tile_loadd(4, zeros, 64);
  _tile_loadd(6, zeros, 64);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (size_t i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 6);
    _tile_dpbf16ps(2, 4, 6);
    _tile_dpbf16ps(3, 4, 6);
  }
  return 4.0 * 2 * 16 * 16 * 32 * static_cast<double>(rounds);
#elif defined(TW_TARGET_CPU_AVX512_BF16)
  const uint32_t ones = 0x3f803f80;
  const auto a = DotBf16::left(reinterpret_cast<const uint16_t*>(&ones));
  return multiply(rounds, 4.0 * kLanes,
                  [&](Floats sum) { return DotBf16::add(sum, a, DotBf16::Right{a}); });
#else
  return multiply_fp32(rounds);
#endif
}

void pack(void* to, const Operand& b) {
  pack_right(static_cast<char*>(to) + kPackedHeader, panel_bytes(b.rows, b.type), b, 0, 0, b.rows,
             b.cols);
}

void norm_row(void* to, const void* from, const void* weight, float* row, size_t n) {
  load_line(row, from, TW_BF16, n);
  const float squares = sum_line(row, n, [](Floats x) { return x * x; });
  scale_line(row, inverse_sqrt(squares / static_cast<float>(n) + 1e-5f), n);
  multiply_line(row, weight, TW_BF16, n);
  store_line(to, row, TW_BF16, n);
}

void gelu_row(void* to, const void* from, float* row, size_t n) {
  load_line(row, from, TW_BF16, n);
  activate_line(row, Activation::kGelu, n);
  store_line(to, row, TW_BF16, n);
}

}  // namespace

const perf::TileLoops& tile_loops();
const perf::TileLoops& tile_loops() {
  static constexpr perf::TileLoops kLoops{Target::kName, multiply_bf16, multiply_fp32, gemm_entry,
                                          pack,          norm_row,      gelu_row};
  return kLoops;
}

}  // namespace TW_NS
