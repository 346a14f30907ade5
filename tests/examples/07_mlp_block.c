/* The feed-forward block of a transformer as one launch at each rank:
 *
 *   normed = RMSNorm(x) * weight
 *   gated  = silu(normed Gate) * (normed Up)           each rank has its columns of Gate and Up
 *   x     += sum over ranks of gated Down              and its rows of Down
 *
 * Four ops; the library cuts them into tiles and derives what waits for what, across ranks too. The
 * result is compared with plain loops. Start it with tw_run -n 2 or more. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tilewire.h>

enum { kRows = 40, kHidden = 96, kColumns = 200 }; /* columns: of all ranks */

#define CHECK(call)                                        \
  do {                                                     \
    if ((call) != TW_OK) {                                 \
      fprintf(stderr, "%s: %s\n", #call, tw_last_error()); \
      exit(1);                                             \
    }                                                      \
  } while (0)

/* Values that every rank can make for itself. */
static float value(int what, size_t i, size_t j) {
  return ((float)((5 * i + 7 * j + 3 * (size_t)what) % 13) / 8 - 0.75f) / 4;
}
static float weight_of(size_t i) { return 1 + (float)(i % 5) / 8; }

/* This rank's columns are first <= j < first + count. */
static size_t first_of(int rank, int size) { return (size_t)rank * kColumns / (size_t)size; }

/* k x n weights (SwiGLU: k x 2 n), packed as the device multiplies them. */
static void* packed(tw_comm_t comm, size_t k, size_t n, tw_activation_t activation,
                    const float* plain) {
  tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
  args.n = n;
  args.k = k;
  args.type = TW_FP32;
  args.activation = activation;
  args.b = plain;
  size_t bytes;
  void* memory;
  CHECK(tw_packed_bytes(&args, comm, &bytes));
  CHECK(tw_mem_alloc(bytes, NULL, &memory));
  CHECK(tw_pack_weights(&args, memory, bytes, comm, NULL));
  return memory;
}

static int add_tensor(tw_program_t program, const char* name, size_t cols, void* data) {
  tw_tensor_t tensor = TW_TENSOR_INIT;
  int number;
  tensor.name = name;
  tensor.type = TW_FP32;
  tensor.cols = cols;
  tensor.data = data; /* NULL: the program's own memory */
  CHECK(tw_program_add_tensor(program, &tensor, &number));
  return number;
}

/* What a row of x becomes. */
static void expected(size_t row, double* result) {
  double normed[kHidden], square = 0;
  for (size_t j = 0; j < kHidden; ++j) square += (double)value(0, row, j) * value(0, row, j);
  for (size_t j = 0; j < kHidden; ++j) {
    normed[j] = value(0, row, j) / sqrt(square / kHidden + 1e-5) * weight_of(j);
    result[j] = value(0, row, j);
  }
  for (size_t c = 0; c < kColumns; ++c) {
    double gate = 0, up = 0;
    for (size_t j = 0; j < kHidden; ++j) {
      gate += normed[j] * value(1, j, c);
      up += normed[j] * value(2, j, c);
    }
    const double gated = gate / (1 + exp(-gate)) * up;
    for (size_t j = 0; j < kHidden; ++j) result[j] += gated * value(3, c, j);
  }
}

int main(void) {
  tw_comm_t comm;
  int rank, size;
  if (tw_comm_create_env(NULL, &comm) != TW_OK) {
    fprintf(stderr, "%s\n", tw_last_error());
    return 1;
  }
  CHECK(tw_comm_rank(comm, &rank));
  CHECK(tw_comm_size(comm, &size));

  /* This rank's shares of the weights. */
  const size_t first = first_of(rank, size), own = first_of(rank + 1, size) - first;
  static float x[kRows * kHidden], norm_weight[kHidden];
  float* const gate_up = malloc(kHidden * 2 * own * sizeof(float));
  float* const down = malloc(own * kHidden * sizeof(float));
  for (size_t j = 0; j < kHidden; ++j) norm_weight[j] = weight_of(j);
  for (size_t j = 0; j < kHidden; ++j)
    for (size_t c = 0; c < own; ++c) {
      gate_up[j * 2 * own + c] = value(1, j, first + c);
      gate_up[j * 2 * own + own + c] = value(2, j, first + c);
      down[c * kHidden + j] = value(3, first + c, j);
    }
  void* const gate_up_packed = packed(comm, kHidden, own, TW_SWIGLU, gate_up);
  void* const down_packed = packed(comm, own, kHidden, TW_ACTIVATION_NONE, down);
  free(gate_up);
  free(down);

  tw_program_t program;
  tw_program_config_t config = TW_PROGRAM_CONFIG_INIT;
  config.rows = kRows;
  CHECK(tw_program_create(comm, &config, &program));
  const int stream = add_tensor(program, "x", kHidden, x);
  const int normed = add_tensor(program, "normed", kHidden, NULL);
  const int gated = add_tensor(program, "gated", own, NULL);

  CHECK(tw_program_rms_norm(program, stream, norm_weight, 1e-5f, normed));
  tw_program_gemm_t product = TW_PROGRAM_GEMM_INIT;
  product.name = "gate, up";
  product.a = normed;
  product.b_packed = gate_up_packed;
  product.c = gated;
  product.activation = TW_SWIGLU;
  CHECK(tw_program_gemm(program, &product));
  tw_program_gemm_t sum = TW_PROGRAM_GEMM_INIT;
  sum.name = "down";
  sum.a = gated;
  sum.b_packed = down_packed;
  sum.c = stream;
  sum.residual = stream;
  CHECK(tw_program_gemm_all_reduce(program, &sum));
  CHECK(tw_program_build(program));

  /* One program serves any number of rows up to what it was built for. */
  const uint32_t rows[] = {kRows, 1, 17};
  double worst = 0;
  uint64_t launches = 0;
  for (int run = 0; run < 3; ++run) {
    tw_program_counts_t before = TW_PROGRAM_COUNTS_INIT, after = TW_PROGRAM_COUNTS_INIT;
    for (size_t i = 0; i < kRows; ++i)
      for (size_t j = 0; j < kHidden; ++j) x[i * kHidden + j] = value(0, i, j);
    CHECK(tw_program_get_counts(program, &before));
    CHECK(tw_program_launch(program, rows[run], NULL));
    CHECK(tw_program_get_counts(program, &after));
    launches = after.launches - before.launches;
    if (run == 0 && rank == 0)
      printf("%d instructions and %d signals of %d ranks\n", (int)after.all_instructions,
             (int)after.signals, size);
    for (size_t i = 0; i < kRows; ++i) {
      double want[kHidden];
      expected(i, want);
      for (size_t j = 0; j < kHidden; ++j) {
        if (i >= rows[run]) want[j] = value(0, i, j); /* not touched */
        const double off = fabs(x[i * kHidden + j] - want[j]) / (1 + fabs(want[j]));
        if (!(off <= worst)) worst = off;
      }
    }
  }
  const int right = worst < 1e-4 && launches == 1;
  printf(
      "rank %d of %d: norm, gate/up, SwiGLU, down, sum over ranks, residual; launches: %d; "
      "furthest from plain loops %.1e%s\n",
      rank, size, (int)launches, worst, right ? "" : ": WRONG");
  CHECK(tw_program_destroy(program));
  CHECK(tw_comm_destroy(comm));
  CHECK(tw_mem_free(gate_up_packed));
  CHECK(tw_mem_free(down_packed));
  return right ? 0 : 1;
}
