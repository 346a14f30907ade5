// 08: an instruction of your own. A router: scores of this rank's rows by the library's product,
// softmaxed and given to all ranks by an op of this program, then doubled on every rank, in one
// launch.
//
//   cmake -S . -B build && cmake --build build && tw_run -n 2 build/own_op
#include <cmath>
#include <cstdio>
#include <vector>

#include "router.h"
#include "tilewire.h"

extern "C++" const tw_kernel_t router_kernel;  // table.cc

namespace {

constexpr uint32_t kRows = 37;  // of each rank
constexpr size_t kHidden = 70, kExperts = 19;

#define CHECK(call)                                             \
  do {                                                          \
    if ((call) != TW_OK) {                                      \
      std::fprintf(stderr, "%s: %s\n", #call, tw_last_error()); \
      return 1;                                                 \
    }                                                           \
  } while (0)

float x_at(int rank, size_t i, size_t k) {
  return static_cast<float>((3 * i + 5 * k + 2 * static_cast<size_t>(rank)) % 11) / 8 - 0.625f;
}
float weight_at(size_t k, size_t j) { return static_cast<float>((7 * k + 2 * j) % 9) / 16 - 0.25f; }

/// Twice the probability of expert j for row i of `rank`.
double wanted(int rank, size_t i, size_t j) {
  double sum = 0, own = 0;
  for (size_t e = 0; e < kExperts; ++e) {
    double score = 0;
    for (size_t k = 0; k < kHidden; ++k)
      score += static_cast<double>(x_at(rank, i, k)) * weight_at(k, e);
    sum += std::exp(score);
    if (e == j) own = std::exp(score);
  }
  return 2 * own / sum;
}

int add_tensor(tw_program_t program, const char* name, uint32_t rows, size_t cols, void* data,
               tw_window_t window) {
  tw_tensor_t tensor = TW_TENSOR_INIT;
  tensor.name = name;
  tensor.type = TW_FP32;
  tensor.rows = rows;
  tensor.cols = cols;
  tensor.data = data;
  tensor.window = window;
  int number = TW_NO_TENSOR;
  if (tw_program_add_tensor(program, &tensor, &number) != TW_OK)
    std::fprintf(stderr, "%s: %s\n", name, tw_last_error());
  return number;
}

}  // namespace

int main() {
  tw_comm_t comm;
  CHECK(tw_comm_create_env(nullptr, &comm));
  int rank, size;
  CHECK(tw_comm_rank(comm, &rank));
  CHECK(tw_comm_size(comm, &size));
  const auto ranks = static_cast<uint32_t>(size);

  std::vector<float> x(kRows * kHidden), weights(kHidden * kExperts), scores(kRows * kExperts),
      sums(ranks * kRows * kExperts);
  for (size_t i = 0; i < kRows; ++i)
    for (size_t k = 0; k < kHidden; ++k) x[i * kHidden + k] = x_at(rank, i, k);
  for (size_t k = 0; k < kHidden; ++k)
    for (size_t j = 0; j < kExperts; ++j) weights[k * kExperts + j] = weight_at(k, j);
  tw_gemm_args_t b = TW_GEMM_ARGS_INIT;
  b.n = kExperts;
  b.k = kHidden;
  b.type = TW_FP32;
  b.b = weights.data();
  size_t bytes;
  void* packed;
  CHECK(tw_packed_bytes(&b, comm, &bytes));
  CHECK(tw_mem_alloc(bytes, nullptr, &packed));
  CHECK(tw_pack_weights(&b, packed, bytes, comm, nullptr));
  tw_window_t window;
  CHECK(tw_window_create(comm, sums.size() * sizeof(float), &window));

  tw_program_t program;
  tw_program_config_t config = TW_PROGRAM_CONFIG_INIT;
  config.rows = kRows;
  config.kernel = &router_kernel;
  CHECK(tw_program_create(comm, &config, &program));
  const int x_tensor = add_tensor(program, "x", 0, kHidden, x.data(), nullptr);
  const int score_tensor = add_tensor(program, "scores", 0, kExperts, scores.data(), nullptr);
  const int route_tensor = add_tensor(program, "routes", ranks * kRows, kExperts, nullptr, window);
  const int sum_tensor = add_tensor(program, "sums", ranks * kRows, kExperts, sums.data(), nullptr);

  tw_program_gemm_t product = TW_PROGRAM_GEMM_INIT;
  product.a = x_tensor;
  product.b_packed = packed;
  product.c = score_tensor;
  CHECK(tw_program_gemm(program, &product));

  SoftmaxToAll args = {};
  args.scores = {scores.data(), kExperts, TW_FP32};
  args.n = kExperts;
  CHECK(tw_window_get_view(window, &args.routes));
  args.first_row = static_cast<size_t>(rank) * kRows;
  tw_program_op_t op = TW_PROGRAM_OP_INIT;
  op.name = "softmax to all";
  op.own_op = 0;  // the first of ProgramOpsAnd<...>
  op.args = &args;
  op.args_bytes = sizeof args;
  int softmax;
  CHECK(tw_program_add_op(program, &op, &softmax));
  for (uint32_t i = 0; i < kRows; i += 8) {  // eight rows an instruction
    const uint32_t rows = kRows - i < 8 ? kRows - i : 8;
    std::vector<tw_program_access_t> accesses = {{score_tensor, rank, 0, i, rows, 0, kExperts}};
    for (int r = 0; r < size; ++r)
      accesses.push_back(
          {route_tensor, r, 1, static_cast<uint32_t>(rank) * kRows + i, rows, 0, kExperts});
    const uint32_t at[4] = {i, rows, 0, 0};
    CHECK(tw_program_add_instruction(program, softmax, at, accesses.data(), accesses.size()));
  }
  CHECK(tw_program_add(program, route_tensor, route_tensor, sum_tensor));
  CHECK(tw_program_build(program));

  for (int launch = 1; launch <= 3; ++launch) {
    for (float& value : sums) value = NAN;
    CHECK(tw_program_launch(program, 0, nullptr));
    for (int r = 0; r < size; ++r)
      for (size_t i = 0; i < kRows; ++i)
        for (size_t j = 0; j < kExperts; ++j) {
          const float got = sums[(static_cast<size_t>(r) * kRows + i) * kExperts + j];
          const double want = wanted(r, i, j);
          if (!(std::abs(got - want) <= 1e-5)) {
            std::fprintf(stderr, "launch %d: row %zu of rank %d, expert %zu: %g, want %g\n", launch,
                         i, r, j, static_cast<double>(got), want);
            return 1;
          }
        }
  }
  tw_program_counts_t counts = TW_PROGRAM_COUNTS_INIT;
  CHECK(tw_program_get_counts(program, &counts));
  std::printf("rank %d of %d: three launches of %d instructions, %u rows routed, all right\n", rank,
              size, static_cast<int>(counts.instructions), ranks * kRows);
  CHECK(tw_program_destroy(program));
  CHECK(tw_window_destroy(window));
  CHECK(tw_comm_destroy(comm));
  CHECK(tw_mem_free(packed));
  return 0;
}
