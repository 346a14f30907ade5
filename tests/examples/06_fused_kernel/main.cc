// 06: a fused kernel of your own. Three launches on the same signals, nothing zeroed between them.
//
//   cmake -S . -B build && cmake --build build && tw_run -n 2 build/gemm_bias_gelu
#include <cmath>
#include <cstdio>
#include <vector>

#include "gemm_bias_gelu.h"
#include "tilewire.h"

extern "C++" const tw_kernel_t gemm_bias_gelu_kernel;  // table.cc

namespace {

constexpr size_t kM = 200, kN = 300, kK = 130;  // K: of each rank

#define CHECK(call)                                             \
  do {                                                          \
    if ((call) != TW_OK) {                                      \
      std::fprintf(stderr, "%s: %s\n", #call, tw_last_error()); \
      return 1;                                                 \
    }                                                           \
  } while (0)

/// Eighths, so that every sum is exact.
float a_at(int rank, size_t i, size_t k) {
  return static_cast<float>((3 * i + 5 * k + static_cast<size_t>(rank)) % 9) / 8 - 0.5f;
}
float b_at(int rank, size_t k, size_t j) {
  return static_cast<float>((7 * k + 2 * j + static_cast<size_t>(rank)) % 7) / 8 - 0.375f;
}

double wanted(int size, size_t i, size_t j) {
  double x = static_cast<double>(j) / 64;  // the bias
  for (int r = 0; r < size; ++r)
    for (size_t k = 0; k < kK; ++k) x += static_cast<double>(a_at(r, i, k)) * b_at(r, k, j);
  return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
}

}  // namespace

int main() {
  tw_comm_t comm;
  CHECK(tw_comm_create_env(nullptr, &comm));
  int rank, size;
  CHECK(tw_comm_rank(comm, &rank));
  CHECK(tw_comm_size(comm, &size));

  std::vector<float> a(kM * kK), b(kK * kN), bias(kN), c(kM * kN);
  for (size_t i = 0; i < kM; ++i)
    for (size_t k = 0; k < kK; ++k) a[i * kK + k] = a_at(rank, i, k);
  for (size_t k = 0; k < kK; ++k)
    for (size_t j = 0; j < kN; ++j) b[k * kN + j] = b_at(rank, k, j);
  for (size_t j = 0; j < kN; ++j) bias[j] = static_cast<float>(j) / 64;

  GemmBiasGeluArgs args = {};
  args.grid = tw::tile_grid(tw::whole(kM, tw::kGpuTile.rows), tw::whole(kN, tw::kGpuTile.cols),
                            tw::Raster::kRowsOuter);
  args.a = {a.data(), kK, kM, kK, TW_FP32, tw::MatrixLayout::kRows, nullptr};
  args.b = {b.data(), kN, kK, kN, TW_FP32, tw::MatrixLayout::kRows, nullptr};
  args.c = {c.data(), kN, TW_FP32};
  args.epilogue = {bias.data(), TW_FP32, tw::Activation::kGelu, {}, 0};
  args.partials = {0, tw::slot_bytes(args.grid, TW_FP32), args.grid.ids(), TW_FP32};

  tw_tiles_config_t config = TW_TILES_CONFIG_INIT;
  config.bytes = args.partials.end(size);
  config.slots = args.grid.ids();
  config.k = kK;
  tw_tiles_t tiles;
  CHECK(tw_tiles_create(comm, &config, &tiles));
  CHECK(tw_tiles_get_view(tiles, &args.tiles));

  for (int launch = 1; launch <= 3; ++launch) {
    for (float& x : c) x = NAN;
    CHECK(tw_kernel_launch(&gemm_bias_gelu_kernel, comm, &args, sizeof args, 0, nullptr));
    for (size_t i = 0; i < kM; ++i)
      for (size_t j = 0; j < kN; ++j) {
        const double want = wanted(size, i, j), got = c[i * kN + j];
        if (!(std::abs(got - want) <= 1e-5 * (1 + std::abs(want)))) {
          std::fprintf(stderr, "launch %d: C[%zu][%zu] = %g, want %g\n", launch, i, j, got, want);
          return 1;
        }
      }
  }
  std::printf("rank %d of %d: three launches of gelu(A B + bias), %zu x %zu, all right\n", rank,
              size, kM, kN);
  CHECK(tw_tiles_destroy(tiles));
  CHECK(tw_comm_destroy(comm));
  return 0;
}
