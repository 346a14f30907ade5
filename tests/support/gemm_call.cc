#include "tests/support/gemm_call.h"

#include <algorithm>
#include <cmath>

#include "tests/support/add_scaled.h"

// The kernels' conversions, in a namespace of their own.
#undef TW_NS
#define TW_NS tw::gemm_call
#include "tilewire/tile/types.h"

namespace tw::test {
namespace {

using gemm_call::Bf16;
using gemm_call::Fp16;

enum Which { kA, kB, kBias, kResidual, kWeight };

/// An element of a rank's operand: a small integer over 8 (weights: not 0).
double value_of(int rank, Which which, size_t row, size_t col) {
  uint64_t h = (static_cast<uint64_t>(rank) * 8 + which) * 1000003 + row * 10007 + col;
  h = (h ^ h >> 31) * UINT64_C(0x9E3779B97F4A7C15);
  const int small = static_cast<int>(h >> 40) % 7;
  if (which == kWeight) return (small + 1) / 8.0;
  return (small - 3) / (which == kA || which == kB ? 2.0 : 8.0);
}

void put(std::vector<char>& to, size_t i, double value, tw_type_t type) {
  const float x = static_cast<float>(value);
  if (type == TW_FP32) {
    std::memcpy(&to[4 * i], &x, 4);
    return;
  }
  const uint32_t code =
      type == TW_BF16 ? Bf16::narrow<float, uint32_t>(x) : Fp16::narrow<float, uint32_t>(x);
  std::memcpy(&to[2 * i], &code, 2);
}

double get(const char* from, size_t i, tw_type_t type) {
  if (type == TW_FP32) {
    float x;
    std::memcpy(&x, from + 4 * i, 4);
    return x;
  }
  uint16_t code;
  std::memcpy(&code, from + 2 * i, 2);
  return type == TW_BF16 ? Bf16::widen<float>(uint32_t{code}) : Fp16::widen<float>(uint32_t{code});
}

double rounded(double x, tw_type_t type) {
  std::vector<char> one(4);
  put(one, 0, x, type);
  return get(one.data(), 0, type);
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
  const size_t stride = (turned ? rows : cols) + gap;
  std::vector<char> m((turned ? cols : rows) * stride * GemmOperands::element(type));
  for (size_t i = 0; i < rows; ++i)
    for (size_t j = 0; j < cols; ++j)
      put(m, turned ? j * stride + i : i * stride + j, value_of(rank, which, first_row + i, j),
          type);
  return m;
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
  GemmProblem plain = problem_;
  plain.packed = false;
  const GemmOperands source(plain, rank_, ranks_);
  tw_gemm_args_t args = source.args();
  args.b_stride = 0;
  args.b = b_.data();
  size_t bytes = 0;
  tw_status_t status = tw_packed_bytes(&args, comm, &bytes);
  if (status != TW_OK) return status;
  packed_.assign(bytes + 64, char{0x5a});
  void* const at = const_cast<void*>(this->args().b_packed);
  status = tw_pack_weights(&args, at, bytes, comm, nullptr);
  return status;
}

/// All of a rank's A times a rank's B.
std::vector<double> GemmOperands::products(int a_rank, int b_rank) const {
  const GemmProblem& p = problem_;
  std::vector<double> sums(p.m * b_cols()), row(b_cols());
  for (size_t k = 0; k < p.k; ++k) {
    for (size_t j = 0; j < b_cols(); ++j) row[j] = value_of(b_rank, kB, k, j);
    for (size_t i = 0; i < p.m; ++i) {
      const double a = value_of(a_rank, kA, i, k);
      add_scaled(sums.data() + i * b_cols(), a, row.data(), b_cols());
    }
  }
  return sums;
}

/// Element of the product, summed over ranks where the op does.
double GemmOperands::product(size_t row, size_t col) const {
  const GemmProblem& p = problem_;
  const auto of_rank = [&](int a_rank, int b_rank) {
    if (p.entry == GemmEntry::kNorm) return value_of(a_rank, kA, row, col);
    std::vector<double>& all = products_[{a_rank, b_rank}];
    if (all.empty()) all = products(a_rank, b_rank);
    return all[row * b_cols() + col];
  };
  size_t owner = 0;
  for (size_t end = rows_[0]; row >= end; end += rows_[++owner]) {
  }
  const int row_rank = static_cast<int>(owner);
  switch (p.entry) {
    case GemmEntry::kGemm:
      return of_rank(rank_, rank_);
    case GemmEntry::kAllGather:
      return of_rank(row_rank, rank_);
    case GemmEntry::kAllToAll:
      return of_rank(row_rank, row_rank);
    default: {
      const tw_type_t type = p.partial_type == 0 ? out_ : p.partial_type;
      double sum = 0;
      for (int r = 0; r < ranks_; ++r) sum += rounded(of_rank(r, r), type);
      return rounded(sum, type);
    }
  }
}

/// Row `i` of this rank's x.
std::vector<double> GemmOperands::expected_row(size_t i) const {
  const GemmProblem& p = problem_;
  const size_t row = p.entry == GemmEntry::kReduceScatter ? first_row_ + i : i;
  std::vector<double> x(c_cols_);
  for (size_t j = 0; j < c_cols_; ++j) {
    const size_t col = p.entry == GemmEntry::kAllToAll ? first_col_ + j : j;
    double v = product(row, col) + (p.bias ? value_of(0, kBias, 0, col) : 0);
    if (p.activation == TW_SWIGLU)
      v = silu(v) * (product(row, p.n + col) + (p.bias ? value_of(0, kBias, 0, p.n + col) : 0));
    else
      v = activated(v, p.activation);
    if (p.residual) v += value_of(0, kResidual, row, j);
    x[j] = rounded(v, out_);
  }
  return x;
}

std::string GemmOperands::check() const {
  const GemmProblem& p = problem_;
  const bool exact = p.activation == TW_ACTIVATION_NONE;
  const double one = out_ == TW_FP32 ? 2e-6 : out_ == TW_FP16 ? 2e-3 : 1.6e-2;
  const auto differs = [&](double got, double want, bool bits) {
    return !(bits ? got == want : std::fabs(got - want) <= one * (std::fabs(want) + 0.05));
  };
  const auto text = [&](const char* what, size_t i, size_t j, double got, double want) {
    return std::string(name_of(p.entry)) + " rank " + std::to_string(rank_) + ": " + what + "[" +
           std::to_string(i) + "][" + std::to_string(j) + "] = " + std::to_string(got) + ", not " +
           std::to_string(want);
  };
  for (size_t i = expected_.size(); i < c_rows_; ++i) expected_.push_back(expected_row(i));
  for (size_t i = 0; i < c_rows_; ++i) {
    const std::vector<double>& x = expected_[i];
    double squares = 0;
    for (const double v : x) squares += v * v;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + 1e-5);
    for (size_t j = 0; j < c_cols_; ++j) {
      if (p.hidden) {
        const double got = get(hidden_at_, i * c_stride() + j, out_);
        if (differs(got, x[j], exact)) return text("hidden", i, j, got, x[j]);
      }
      const double want = p.norm ? x[j] * scale * value_of(0, kWeight, 0, j) : x[j];
      const double got = get(c_at_, i * c_stride() + j, out_);
      if (differs(got, want, exact && !p.norm)) return text("c", i, j, got, want);
    }
  }
  for (size_t i = 0; p.gathered && i < p.m; ++i)
    for (size_t k = 0; k < p.k; ++k) {
      size_t owner = 0;
      for (size_t end = rows_[0]; i >= end; end += rows_[++owner]) {
      }
      const double want = value_of(static_cast<int>(owner), kA, i, k);
      const size_t at = p.a_transposed ? k * (p.m + p.gap) + i : i * (p.k + p.gap) + k;
      const double got = get(gathered_.data(), at, p.type);
      if (got != want) return text("gathered", i, k, got, want);
    }
  return "";
}

std::string GemmOperands::bytes() const {
  std::string all(c_at_, result_bytes());
  if (problem_.hidden) all.append(hidden_at_, result_bytes());
  return all.append(gathered_.data(), gathered_.size());
}

}  // namespace tw::test
