#include "tests/support/gemm_call.h"

#include <algorithm>
#include <cmath>

#include "tests/support/add_scaled.h"
#include "tests/support/number_lines.h"
#include "tests/support/unseen.h"

namespace tw::test {
namespace {

enum Which { kA, kB, kBias, kResidual, kWeight };

/// An element of a rank's operand: a small integer over 8 (weights: not 0).
TW_INNER inline float value_of(int rank, Which which, size_t row, size_t col) {
  uint64_t h = (static_cast<uint64_t>(rank) * 8 + which) * 1000003 + row * 10007 + col;
  h = (h ^ h >> 31) * UINT64_C(0x9E3779B97F4A7C15);
  const int small = static_cast<int>(h >> 40) % 7;
  if (which == kWeight) return static_cast<float>(small + 1) / 8;
  return static_cast<float>(small - 3) / (which == kA || which == kB ? 2 : 8);
}

/// Elements of a row of an operand, or, `down`, of a column.
TW_UNSEEN void fill_line(float* to, int rank, Which which, size_t row, size_t col, size_t n,
                         bool down = false) {
  for (size_t i = 0; i < n; ++i)
    to[i] = value_of(rank, which, row + (down ? i : 0), col + (down ? 0 : i));
}

double silu(double x) { return x / (1 + std::exp(-x)); }
double activated(double x, tw_activation_t activation) {
  switch (activation) {
    case TW_GELU:
      return 0.5 * x * (1 + std::erf(x * std::sqrt(0.5)));
    case TW_GELU_TANH:
      return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case TW_SILU:
      return silu(x);
    default:
      return x;
  }
}

std::vector<size_t> parts_of(const std::vector<size_t>& given, size_t size, int ranks) {
  if (!given.empty()) return given;
  std::vector<size_t> parts;
  const size_t n = static_cast<size_t>(ranks);
  for (size_t r = 0; r < n; ++r) parts.push_back(size / n + (r < size % n ? 1 : 0));
  return parts;
}

/// A rank's matrix as it is stored, `gap` elements between rows.
std::vector<char> stored(int rank, Which which, size_t first_row, size_t rows, size_t cols,
                         bool turned, size_t gap, tw_type_t type) {
  const size_t lines = turned ? cols : rows, width = turned ? rows : cols;
  const size_t bytes = (width + gap) * GemmOperands::element(type);
  std::vector<char> m(lines * bytes);
  std::vector<float> line(width);
  for (size_t i = 0; i < lines; ++i) {
    fill_line(line.data(), rank, which, first_row + (turned ? 0 : i), turned ? i : 0, width,
              turned);
    write_line(type, m.data() + i * bytes, line.data(), width);
  }
  return m;
}

/// What comes after a row of sums, before it is rounded. `pair`: from a column to its twin's.
struct RowEnd {
  const float *bias, *residual;  // or null
  tw_activation_t activation;
  size_t pair;
};
TW_UNSEEN void finish_row(float* x, const float* sums, size_t n, const RowEnd& end) {
  const auto biased = [&](size_t j) __attribute__((always_inline)) {
    return static_cast<double>(sums[j]) + (end.bias == nullptr ? 0.0 : end.bias[j]);
  };
  for (size_t j = 0; j < n; ++j) {
    double v = end.activation == TW_SWIGLU ? silu(biased(j)) * biased(end.pair + j)
                                           : activated(biased(j), end.activation);
    if (end.residual != nullptr) v += end.residual[j];
    x[j] = static_cast<float>(v);
  }
}

TW_UNSEEN void norm_row(float* c, const float* x, const float* weight, size_t n) {
  double squares = 0;
  for (size_t j = 0; j < n; ++j) squares += static_cast<double>(x[j]) * x[j];
  const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
  for (size_t j = 0; j < n; ++j) c[j] = static_cast<float>(x[j] * scale * weight[j]);
}

/// The first of n elements that is not as it must be: near within `relative`, or equal where 0.
TW_UNSEEN size_t first_far(const float* got, const float* want, size_t n, double relative) {
  for (size_t j = 0; j < n; ++j) {
    const double x = got[j], y = want[j];
    if (relative == 0 ? x != y : !(std::fabs(x - y) <= relative * (std::fabs(y) + 0.05))) return j;
  }
  return n;
}

}  // namespace

const char* name_of(GemmEntry entry) {
  constexpr const char* kNames[] = {"tw_gemm",
                                    "tw_all_gather_gemm",
                                    "tw_gemm_reduce_scatter",
                                    "tw_gemm_all_reduce",
                                    "tw_gemm_all_to_all",
                                    "tw_all_reduce_residual_rms_norm"};
  return kNames[static_cast<int>(entry)];
}

tw_status_t call_gemm(GemmEntry entry, const tw_gemm_args_t* args, tw_comm_t comm,
                      tw_stream_t stream) {
  switch (entry) {
    case GemmEntry::kGemm:
      return tw_gemm(args, comm, stream);
    case GemmEntry::kAllGather:
      return tw_all_gather_gemm(args, comm, stream);
    case GemmEntry::kReduceScatter:
      return tw_gemm_reduce_scatter(args, comm, stream);
    case GemmEntry::kAllReduce:
      return tw_gemm_all_reduce(args, comm, stream);
    case GemmEntry::kAllToAll:
      return tw_gemm_all_to_all(args, comm, stream);
    default:
      return tw_all_reduce_residual_rms_norm(args, comm, stream);
  }
}

GemmOperands::GemmOperands(const GemmProblem& p, int rank, int ranks)
    : problem_(p),
      rank_(rank),
      ranks_(ranks),
      out_(p.out_type),
      rows_(parts_of(p.rows, p.m, ranks)),
      cols_(parts_of(p.cols, p.n, ranks)) {
  const size_t self = static_cast<size_t>(rank);
  for (size_t r = 0; r < self; ++r) {
    first_row_ += rows_[r];
    first_col_ += cols_[r];
  }
  const bool own_a = p.entry == GemmEntry::kAllGather || p.entry == GemmEntry::kAllToAll;
  a_rows_ = own_a ? rows_[self] : p.m;
  c_rows_ = p.entry == GemmEntry::kReduceScatter ? rows_[self] : p.m;
  c_cols_ = p.entry == GemmEntry::kAllToAll ? cols_[self] : p.n;
  const bool norm_only = p.entry == GemmEntry::kNorm;
  a_ = stored(rank, kA, own_a ? first_row_ : 0, a_rows_, norm_only ? p.n : p.k, p.a_transposed,
              p.gap, norm_only ? out_ : p.type);
  b_ = stored(rank, kB, 0, p.k, b_cols(), p.b_transposed, p.packed ? 0 : p.gap, p.type);
  bias_ = stored(0, kBias, 0, 1, b_cols(), false, 0, out_);
  weight_ = stored(0, kWeight, 0, 1, p.n, false, 0, out_);
  residual_ = stored(0, kResidual, p.entry == GemmEntry::kReduceScatter ? first_row_ : 0, c_rows_,
                     c_cols_, false, p.gap, out_);
  c_.resize(result_bytes());
  hidden_.resize(result_bytes());
  c_at_ = c_.data();
  hidden_at_ = hidden_.data();
  const size_t gathered = p.a_transposed ? p.k * (p.m + p.gap) : p.m * (p.k + p.gap);
  if (p.gathered) gathered_.resize(gathered * element(p.type));
  poison();
}

void GemmOperands::place_results(void* c, void* hidden) {
  c_at_ = static_cast<char*>(c);
  hidden_at_ = hidden == nullptr ? hidden_.data() : static_cast<char*>(hidden);
  poison();
}

void GemmOperands::poison() {
  std::fill_n(c_at_, result_bytes(), char{0x5a});
  std::fill_n(hidden_at_, result_bytes(), char{0x5a});
  std::fill(gathered_.begin(), gathered_.end(), char{0x5a});
  if (problem_.in_place) std::copy(residual_.begin(), residual_.end(), c_at_);
}

tw_gemm_args_t GemmOperands::args() const {
  const GemmProblem& p = problem_;
  const bool norm_only = p.entry == GemmEntry::kNorm;
  tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
  args.m = p.m;
  args.n = p.n;
  args.k = norm_only ? 0 : p.k;
  args.type = p.type;
  args.out_type = out_;
  args.a = a_.data();
  args.a_stride = p.gap == 0 ? 0 : (p.a_transposed ? a_rows_ : norm_only ? p.n : p.k) + p.gap;
  args.a_transposed = p.a_transposed ? 1 : 0;
  if (!norm_only && !p.packed) {
    args.b = b_.data();
    args.b_stride = p.gap == 0 ? 0 : (p.b_transposed ? p.k : b_cols()) + p.gap;
    args.b_transposed = p.b_transposed ? 1 : 0;
  }
  if (p.packed) {
    const size_t at = reinterpret_cast<uintptr_t>(packed_.data());
    args.b_packed = packed_.empty() ? nullptr : packed_.data() + (64 - at % 64) % 64;
  }
  args.c = c_at_;
  args.c_stride = p.gap == 0 ? 0 : c_stride();
  args.bias = p.bias ? bias_.data() : nullptr;
  args.activation = p.activation;
  if (p.residual) args.residual = p.in_place ? c_at_ : residual_.data();
  args.residual_stride = args.c_stride;
  if (p.norm) args.norm_weight = weight_.data();
  if (p.hidden) args.hidden = hidden_at_;
  args.hidden_stride = args.c_stride;
  if (!p.rows.empty()) args.rows = p.rows.data();
  if (!p.cols.empty()) args.cols = p.cols.data();
  args.partial_type = p.partial_type;
  if (p.gathered) args.gathered = const_cast<char*>(gathered_.data());
  args.gathered_stride = p.gap == 0 ? 0 : (p.a_transposed ? p.m : p.k) + p.gap;
  args.max_blocks = p.max_blocks;
  return args;
}

tw_status_t GemmOperands::pack(tw_comm_t comm) {
  tw_gemm_args_t args = this->args();
  args.b = b_.data();
  args.b_transposed = problem_.b_transposed ? 1 : 0;
  args.b_packed = nullptr;
  size_t bytes = 0;
  tw_status_t status = tw_packed_bytes(&args, comm, &bytes);
  if (status != TW_OK) return status;
  packed_.assign(bytes + 64, char{0x5a});
  void* const at = const_cast<void*>(this->args().b_packed);
  status = tw_pack_weights(&args, at, bytes, comm, nullptr);
  return status;
}

/// Rows of a rank's A times a rank's B: whole numbers of quarters, of which fp32 has all sums.
std::vector<float> GemmOperands::products(int a_rank, int b_rank, size_t first, size_t rows) const {
  const GemmProblem& p = problem_;
  const size_t n = b_cols();
  std::vector<float> sums(rows * n), a(rows), b(n);
  if (p.entry == GemmEntry::kNorm)
    for (size_t i = 0; i < rows; ++i) fill_line(&sums[i * n], a_rank, kA, first + i, 0, n);
  for (size_t k = 0; k < p.k && p.entry != GemmEntry::kNorm; ++k) {
    fill_line(a.data(), a_rank, kA, first, k, rows, true);
    fill_line(b.data(), b_rank, kB, k, 0, n);
    for (size_t i = 0; i < rows; ++i) add_scaled(&sums[i * n], a[i], b.data(), n);
  }
  return sums;
}

/// What the epilogue begins with, of this rank's rows and all columns.
std::vector<float> GemmOperands::sums() const {
  const GemmProblem& p = problem_;
  if (p.entry == GemmEntry::kGemm) return products(rank_, rank_, 0, p.m);
  const bool own_a = p.entry == GemmEntry::kAllGather || p.entry == GemmEntry::kAllToAll;
  const tw_type_t type = p.partial_type == 0 ? out_ : p.partial_type;
  std::vector<float> all;
  size_t first = p.entry == GemmEntry::kReduceScatter ? first_row_ : 0;
  for (int r = 0; r < ranks_; ++r) {
    const size_t rows = own_a ? rows_[static_cast<size_t>(r)] : c_rows_;
    std::vector<float> part =
        products(r, p.entry == GemmEntry::kAllGather ? rank_ : r, first, rows);
    if (own_a) {
      first += rows;
      all.insert(all.end(), part.begin(), part.end());
      continue;
    }
    round_line(type, part.data(), part.size());
    all.resize(part.size());
    add_scaled(all.data(), 1.0f, part.data(), part.size());
  }
  if (!own_a) round_line(type, all.data(), all.size());
  return all;
}

/// This rank's x, rounded.
std::vector<float> GemmOperands::expected() const {
  const GemmProblem& p = problem_;
  const std::vector<float> sums = this->sums();
  const size_t first_row = p.entry == GemmEntry::kReduceScatter ? first_row_ : 0;
  const size_t first_col = p.entry == GemmEntry::kAllToAll ? first_col_ : 0;
  std::vector<float> x(c_rows_ * c_cols_), bias(b_cols()), residual(c_cols_);
  fill_line(bias.data(), 0, kBias, 0, 0, bias.size());
  const RowEnd end{p.bias ? bias.data() + first_col : nullptr,
                   p.residual ? residual.data() : nullptr, p.activation, p.n};
  for (size_t i = 0; i < c_rows_; ++i) {
    fill_line(residual.data(), 0, kResidual, first_row + i, 0, c_cols_);
    finish_row(x.data() + i * c_cols_, sums.data() + i * b_cols() + first_col, c_cols_, end);
  }
  round_line(out_, x.data(), x.size());
  return x;
}

std::string GemmOperands::text(const char* what, size_t i, size_t j, double got,
                               double want) const {
  return std::string(name_of(problem_.entry)) + " rank " + std::to_string(rank_) + ": " + what +
         "[" + std::to_string(i) + "][" + std::to_string(j) + "] = " + std::to_string(got) +
         ", not " + std::to_string(want);
}

std::string GemmOperands::check() const {
  const GemmProblem& p = problem_;
  const double near = out_ == TW_FP32 ? 2e-6 : out_ == TW_FP16 ? 2e-3 : 1.6e-2;
  const double exact = p.activation == TW_ACTIVATION_NONE ? 0 : near;
  if (expected_.empty()) expected_ = expected();
  std::vector<float> want(c_cols_), got(c_cols_), weight(c_cols_);
  fill_line(weight.data(), 0, kWeight, 0, 0, c_cols_);
  for (size_t i = 0; i < c_rows_; ++i) {
    const size_t at = i * c_stride() * element(out_);
    const float* const x = expected_.data() + i * c_cols_;
    if (p.hidden) {
      read_line(out_, got.data(), hidden_at_ + at, c_cols_);
      const size_t j = first_far(got.data(), x, c_cols_, exact);
      if (j != c_cols_) return text("hidden", i, j, got[j], x[j]);
    }
    want.assign(x, x + c_cols_);
    if (p.norm) norm_row(want.data(), x, weight.data(), c_cols_);
    read_line(out_, got.data(), c_at_ + at, c_cols_);
    const size_t j = first_far(got.data(), want.data(), c_cols_, p.norm ? near : exact);
    if (j != c_cols_) return text("c", i, j, got[j], want[j]);
  }
  return p.gathered ? check_gathered() : "";
}

std::string GemmOperands::check_gathered() const {
  const GemmProblem& p = problem_;
  size_t first = 0;
  for (int r = 0; r < ranks_; ++r) {
    const size_t rows = rows_[static_cast<size_t>(r)];
    const size_t lines = p.a_transposed ? p.k : rows, width = p.a_transposed ? rows : p.k;
    const size_t stride = (p.a_transposed ? p.m : p.k) + p.gap;
    std::vector<float> want(width), got(width);
    for (size_t i = 0; i < lines; ++i) {
      const size_t at = p.a_transposed ? i * stride + first : (first + i) * stride;
      fill_line(want.data(), r, kA, first + (p.a_transposed ? 0 : i), p.a_transposed ? i : 0, width,
                p.a_transposed);
      read_line(p.type, got.data(), gathered_.data() + at * element(p.type), width);
      const size_t j = first_far(got.data(), want.data(), width, 0);
      if (j == width) continue;
      return text("gathered", p.a_transposed ? first + j : first + i, p.a_transposed ? i : j,
                  got[j], want[j]);
    }
    first += rows;
  }
  return "";
}

std::string GemmOperands::bytes() const {
  std::string all(c_at_, result_bytes());
  if (problem_.hidden) all.append(hidden_at_, result_bytes());
  return all.append(gathered_.data(), gathered_.size());
}

}  // namespace tw::test
