#include "tests/support/program_block.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "tests/runner/values.h"

namespace tw::test {
namespace {

constexpr double kEps = 1e-5;

#define CHECKED(call)                                    \
  do {                                                   \
    if ((call) != TW_OK) {                               \
      ADD_FAILURE() << #call << ": " << tw_last_error(); \
      std::abort();                                      \
    }                                                    \
  } while (0)

double load(tw_type_t type, const char* from) {
  if (type == TW_FP32) {
    float x;
    std::memcpy(&x, from, sizeof x);
    return x;
  }
  uint16_t x;
  std::memcpy(&x, from, sizeof x);
  return decode(type == TW_BF16 ? kBf16 : kFp16, x);
}
void store(tw_type_t type, char* to, double value) {
  if (type == TW_FP32) {
    const auto x = static_cast<float>(value);
    std::memcpy(to, &x, sizeof x);
    return;
  }
  const auto x = static_cast<uint16_t>(encode(type == TW_BF16 ? kBf16 : kFp16, value));
  std::memcpy(to, &x, sizeof x);
}

/// Between -1 and 1, the same for a place on every rank.
double value_at(uint32_t seed, size_t i, size_t j) {
  uint64_t x = (uint64_t{seed} << 40) + (i << 20) + j + 1;
  x *= UINT64_C(0x9E3779B97F4A7C15);
  x ^= x >> 31;
  x *= UINT64_C(0xBF58476D1CE4E5B9);
  return static_cast<double>(x >> 40) / 0x1p23 - 1;
}

double silu(double x) { return x / (1 + std::exp(-x)); }
double gelu(double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }

double tolerance(tw_type_t type) {
  return type == TW_BF16 ? 0x1p-8 : type == TW_FP16 ? 0x1p-10 : 2e-6;
}

}  // namespace

std::string name_of(const BlockCase& c) {
  constexpr const char* kPlaces[] = {"local", "window", "program", "mixed"};
  return std::to_string(c.rows) + " rows, hidden " + std::to_string(c.hidden) + ", ffn " +
         std::to_string(c.ffn) + ", stream " + std::to_string(c.stream) + ", type " +
         std::to_string(c.type) + ", " + kPlaces[static_cast<int>(c.places)];
}

ProgramBlockRank::ProgramBlockRank(tw_comm_t comm, const BlockCase& c) : comm_(comm), case_(c) {
  CHECKED(tw_comm_rank(comm, &rank_));
  CHECKED(tw_comm_size(comm, &size_));
  const auto r = static_cast<size_t>(rank_), n = static_cast<size_t>(size_);
  first_ = r * c.ffn / n;
  own_ = (r + 1) * c.ffn / n - first_;
  gate_up_ = weights(c.hidden, own_, 1, 0, first_, c.ffn, true);
  down_ = weights(own_, c.hidden, 2, first_, 0, c.hidden, false);
  out_ = weights(c.hidden, c.hidden, 3, 0, 0, c.hidden, false);
  down2_ = weights(own_, c.hidden, 4, first_, 0, c.hidden, false);
  norm_weight_ = vector_of(c.hidden, c.stream, 5, 1);
  norm_weight2_ = vector_of(c.hidden, c.stream, 6, 1);
  bias_ = vector_of(2 * own_, c.type, 7, 0);
  bias2_ = vector_of(c.hidden, c.stream, 8, 0);
  tw_program_config_t config = TW_PROGRAM_CONFIG_INIT;
  config.rows = c.rows;
  CHECKED(tw_program_create(comm, &config, &program_));
  add_tensors();
  add_ops();
  CHECKED(tw_program_build(program_));
}

ProgramBlockRank::~ProgramBlockRank() {
  EXPECT_EQ(tw_program_destroy(program_), TW_OK) << tw_last_error();
  EXPECT_EQ(tw_window_destroy(window_), TW_OK) << tw_last_error();
  for (const Weights* w : {&gate_up_, &down_, &out_, &down2_})
    EXPECT_EQ(tw_mem_free(w->packed), TW_OK) << tw_last_error();
}

/// Rows first_row .. + k of a matrix, its columns first_col .. + n, or, paired, those and the ones
/// whole_cols further.
ProgramBlockRank::Weights ProgramBlockRank::weights(size_t k, size_t n, uint32_t seed,
                                                    size_t first_row, size_t first_col,
                                                    size_t whole_cols, bool paired) {
  Weights w;
  w.k = k;
  w.n = paired ? 2 * n : n;
  const size_t element = type_bytes(case_.type);
  w.values.resize(k * w.n);
  w.plain.resize(std::max<size_t>(k * w.n, 1) * element);
  const double scale = 1.5 / std::sqrt(static_cast<double>(std::max<size_t>(k, 1)));
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < w.n; ++j) {
      const size_t col = j < n ? first_col + j : whole_cols + first_col + j - n;
      char* const place = w.plain.data() + (i * w.n + j) * element;
      store(case_.type, place, scale * value_at(seed, first_row + i, col));
      w.values[i * w.n + j] = load(case_.type, place);
    }
  tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
  args.n = n;
  args.k = k;
  args.type = case_.type;
  args.activation = paired ? TW_SWIGLU : TW_ACTIVATION_NONE;
  args.b = w.plain.data();
  size_t bytes;
  CHECKED(tw_packed_bytes(&args, comm_, &bytes));
  CHECKED(tw_mem_alloc(bytes, nullptr, &w.packed));
  CHECKED(tw_pack_weights(&args, w.packed, bytes, comm_, nullptr));
  return w;
}

std::vector<char> ProgramBlockRank::vector_of(size_t n, tw_type_t type, uint32_t seed,
                                              double middle) const {
  std::vector<char> result(std::max<size_t>(n, 1) * type_bytes(type));
  for (size_t j = 0; j < n; ++j)
    store(type, result.data() + j * type_bytes(type), middle + value_at(seed, 0, j) / 4);
  return result;
}

tw_type_t ProgramBlockRank::type_of(int tensor) const {
  return tensor == kY || tensor == kGated || tensor == kZ ? case_.type : case_.stream;
}
size_t ProgramBlockRank::cols_of(int tensor) const {
  return tensor == kGated ? own_ : case_.hidden;
}

void ProgramBlockRank::add_tensors() {
  constexpr const char* kNames[] = {"x", "y", "gated", "h", "z", "q", "h2", "s", "t", "all"};
  const auto ranks = static_cast<size_t>(size_);
  // Strides with a gap, so that neighbours show.
  const size_t stride = std::max(case_.hidden, (case_.ffn + ranks - 1) / ranks) + 3;
  const size_t bytes = size_t{case_.rows} * ranks * stride * sizeof(float) / 64 * 64 + 64;
  const auto in_window = [&](int t) {
    return case_.places == Places::kWindow || (case_.places == Places::kMixed && t % 3 == 0) ||
           (case_.places == Places::kLocal && t == kAll);
  };
  CHECKED(tw_window_create(comm_, kTensors * bytes, &window_));
  local_.resize(kTensors);
  for (int t = 0; t < kTensors; ++t) {
    tw_tensor_t tensor = TW_TENSOR_INIT;
    tensor.name = kNames[t];
    tensor.type = type_of(t);
    tensor.rows = t == kAll ? case_.rows * static_cast<uint32_t>(size_) : 0;
    tensor.cols = cols_of(t);
    if (in_window(t)) {
      tensor.window = window_;
      tensor.offset = static_cast<size_t>(t) * bytes;
      tensor.stride = stride;
    } else if (case_.places == Places::kLocal ||
               (case_.places == Places::kMixed && t % 3 == 1 && t != kAll)) {
      local_[static_cast<size_t>(t)].resize(bytes);
      tensor.data = local_[static_cast<size_t>(t)].data();
      tensor.stride = stride;
    }
    CHECKED(tw_program_add_tensor(program_, &tensor, &numbers_[t]));
  }
}

void ProgramBlockRank::add_ops() {
  const auto n = [this](int t) { return numbers_[t]; };
  CHECKED(tw_program_rms_norm(program_, n(kX), norm_weight_.data(), kEps, n(kY)));
  tw_program_gemm_t gate = TW_PROGRAM_GEMM_INIT;
  gate.a = n(kY);
  gate.b_packed = gate_up_.packed;
  gate.c = n(kGated);
  gate.bias = bias_.data();
  gate.activation = TW_SWIGLU;
  CHECKED(tw_program_gemm(program_, &gate));
  tw_program_gemm_t down = TW_PROGRAM_GEMM_INIT;
  down.a = n(kGated);
  down.b_packed = down_.packed;
  down.c = n(kH);
  down.bias = bias2_.data();
  down.residual = n(kX);
  down.norm_weight = norm_weight2_.data();
  down.norm_eps = kEps;
  down.normed = n(kZ);
  CHECKED(tw_program_gemm_all_reduce(program_, &down));
  tw_program_gemm_t out = TW_PROGRAM_GEMM_INIT;
  out.name = "out";
  out.a = n(kZ);
  out.b_packed = out_.packed;
  out.c = n(kQ);
  out.activation = TW_GELU;
  out.residual = n(kH);
  CHECKED(tw_program_gemm(program_, &out));
  tw_program_gemm_t down2 = TW_PROGRAM_GEMM_INIT;
  down2.a = n(kGated);
  down2.b_packed = down2_.packed;
  down2.c = n(kH2);
  down2.partial_type = TW_FP32;
  CHECKED(tw_program_gemm_all_reduce(program_, &down2));
  CHECKED(tw_program_swiglu(program_, n(kQ), n(kH2), n(kS)));
  CHECKED(tw_program_add(program_, n(kS), n(kX), n(kT)));
  tw_program_copy_t copy = TW_PROGRAM_COPY_INIT;
  copy.x = n(kT);
  copy.y = n(kAll);
  copy.to_row = static_cast<uint32_t>(rank_) * case_.rows;
  CHECKED(tw_program_copy(program_, &copy));
}

char* ProgramBlockRank::row(int tensor, size_t i) const {
  void* data;
  size_t stride;
  CHECKED(tw_program_tensor_ptr(program_, numbers_[tensor], rank_, &data, &stride));
  return static_cast<char*>(data) + i * stride * type_bytes(type_of(tensor));
}
double ProgramBlockRank::at(int tensor, size_t i, size_t j) const {
  return load(type_of(tensor), row(tensor, i) + j * type_bytes(type_of(tensor)));
}
void ProgramBlockRank::set(int tensor, size_t i, size_t j, double value) {
  store(type_of(tensor), row(tensor, i) + j * type_bytes(type_of(tensor)), value);
}

void ProgramBlockRank::fill(uint32_t seed) {
  for (int t = 0; t < kTensors; ++t) {
    const size_t rows = t == kAll ? size_t{case_.rows} * static_cast<size_t>(size_) : case_.rows;
    for (size_t i = 0; i < rows; ++i)
      for (size_t j = 0; j < cols_of(t); ++j)
        if (t == kX)
          set(t, i, j, value_at(seed, i, j));
        else
          set(t, i, j, 77);
  }
}

std::vector<char> ProgramBlockRank::results(uint32_t rows) const {
  std::vector<char> bytes;
  const auto add = [&](int t, size_t i) {
    const char* const from = row(t, i);
    bytes.insert(bytes.end(), from, from + cols_of(t) * type_bytes(type_of(t)));
  };
  for (const int t : {kH, kZ, kQ, kH2, kS, kT})
    for (size_t i = 0; i < rows; ++i) add(t, i);
  for (size_t r = 0; r < static_cast<size_t>(size_); ++r)
    for (size_t i = 0; i < rows; ++i) add(kAll, r * case_.rows + i);
  return bytes;
}

double ProgramBlockRank::sum(int tensor, size_t i, const Weights& w, size_t j) const {
  double sum = 0;
  for (size_t k = 0; k < w.k; ++k) sum += at(tensor, i, k) * w.values[k * w.n + j];
  return sum;
}

double ProgramBlockRank::furthest(const std::vector<const ProgramBlockRank*>& ranks, uint32_t rows,
                                  std::string* what) const {
  double most = 0;
  const auto compare = [&](const char* name, int t, size_t i, size_t j, double want,
                           double more = 1) {
    const double off =
        std::abs(at(t, i, j) - want) / (more * tolerance(type_of(t)) * (1 + std::abs(want)));
    if (off <= most) return;
    most = off;
    *what = std::string(name) + " row " + std::to_string(i) + " column " + std::to_string(j) +
            ": " + std::to_string(at(t, i, j)) + ", want " + std::to_string(want);
  };
  const auto element = [](const std::vector<char>& v, tw_type_t type, size_t j) {
    return load(type, v.data() + j * type_bytes(type));
  };
  const auto scale_of = [&](int t, size_t i) {
    double squares = 0;
    for (size_t j = 0; j < case_.hidden; ++j) squares += at(t, i, j) * at(t, i, j);
    return 1 / std::sqrt(squares / static_cast<double>(case_.hidden) + kEps);
  };
  for (size_t i = 0; i < rows; ++i) {
    const double scale = scale_of(kX, i), scale2 = scale_of(kH, i);
    for (size_t j = 0; j < own_; ++j)
      compare("gated", kGated, i, j,
              silu(sum(kY, i, gate_up_, j) + element(bias_, case_.type, j)) *
                  (sum(kY, i, gate_up_, own_ + j) + element(bias_, case_.type, own_ + j)),
              4);
    for (size_t j = 0; j < case_.hidden; ++j) {
      compare("y", kY, i, j, at(kX, i, j) * scale * element(norm_weight_, case_.stream, j));
      compare("z", kZ, i, j, at(kH, i, j) * scale2 * element(norm_weight2_, case_.stream, j));
      compare("q", kQ, i, j, gelu(sum(kZ, i, out_, j)) + at(kH, i, j), 4);
      double h = element(bias2_, case_.stream, j) + at(kX, i, j), h2 = 0;
      for (const ProgramBlockRank* rank : ranks) {
        h += rank->sum(kGated, i, rank->down_, j);
        h2 += rank->sum(kGated, i, rank->down2_, j);
      }
      compare("h", kH, i, j, h, 8);
      compare("h2", kH2, i, j, h2, 8);
      compare("s", kS, i, j, silu(at(kQ, i, j)) * at(kH2, i, j));
      compare("t", kT, i, j, at(kS, i, j) + at(kX, i, j));
      for (size_t r = 0; r < ranks.size(); ++r)
        compare("all", kAll, r * case_.rows + i, j, at(kT, i, j), 0.01);
    }
  }
  return most;
}

tw_gemm_args_t ProgramBlockRank::call_of(int a, const Weights& w, int c, uint32_t rows) const {
  tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
  void* data;
  CHECKED(tw_program_tensor_ptr(program_, numbers_[a], rank_, &data, &args.a_stride));
  args.a = data;
  args.m = rows;
  args.n = cols_of(c);
  args.k = w.k;
  args.type = case_.type;
  args.out_type = type_of(c);
  args.b_packed = w.packed;
  return args;
}

bool ProgramBlockRank::same(int tensor, const std::vector<char>& result, uint32_t rows) const {
  const size_t bytes = cols_of(tensor) * type_bytes(type_of(tensor));
  for (size_t i = 0; i < rows; ++i)
    if (std::memcmp(row(tensor, i), result.data() + i * bytes, bytes) != 0) return false;
  return true;
}

std::string ProgramBlockRank::other_bits(uint32_t rows) const {
  std::string differ;
  const auto result_of = [&](int t) {
    return std::vector<char>(std::max<size_t>(rows * cols_of(t), 1) * type_bytes(type_of(t)));
  };
  const auto check = [&](const char* name, int t, const std::vector<char>& result) {
    if (!same(t, result, rows)) differ += std::string(name) + " ";
  };
  const auto matrix = [&](int t, size_t* stride) {
    void* data;
    CHECKED(tw_program_tensor_ptr(program_, numbers_[t], rank_, &data, stride));
    return data;
  };
  std::vector<char> gated = result_of(kGated);
  tw_gemm_args_t gate = call_of(kY, gate_up_, kGated, rows);
  gate.c = gated.data();
  gate.bias = bias_.data();
  gate.activation = TW_SWIGLU;
  CHECKED(tw_gemm(&gate, comm_, nullptr));
  check("gated", kGated, gated);

  std::vector<char> hidden = result_of(kH), normed = result_of(kH), h2 = result_of(kH2);
  tw_gemm_args_t down = call_of(kGated, down_, kH, rows);
  down.bias = bias2_.data();
  down.residual = matrix(kX, &down.residual_stride);
  down.norm_weight = norm_weight2_.data();
  down.norm_eps = kEps;
  down.hidden = hidden.data();
  down.c = normed.data();
  CHECKED(tw_gemm_all_reduce(&down, comm_, nullptr));
  check("h", kH, hidden);
  if (case_.type == case_.stream) check("z", kZ, normed);
  tw_gemm_args_t down2 = call_of(kGated, down2_, kH2, rows);
  down2.c = h2.data();
  down2.partial_type = TW_FP32;
  CHECKED(tw_gemm_all_reduce(&down2, comm_, nullptr));
  check("h2", kH2, h2);

  std::vector<char> q = result_of(kQ);
  tw_gemm_args_t out = call_of(kZ, out_, kQ, rows);
  out.c = q.data();
  out.activation = TW_GELU;
  out.residual = matrix(kH, &out.residual_stride);
  CHECKED(tw_gemm(&out, comm_, nullptr));
  check("q", kQ, q);
  return differ;
}

}  // namespace tw::test
