// The reference: what each rank must get.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tests/runner/gemm_cases.h"
#include "tests/support/add_scaled.h"
#include "tests/support/number_lines.h"
#include "tests/support/unseen.h"

namespace tw::test {
namespace {

/// A number of `type` near `x`, by the tests' own rounding.
double nearest(tw_type_t type, double x) {
  unsigned char element[8];
  write_element(type, {x, 0}, element);
  return read_element(type, element).real;
}

/// Pseudo-random numbers in turn, by seed.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * UINT64_C(0x9E3779B97F4A7C15) + 1) {}
  TW_INNER uint64_t next() {
    state_ += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t h = state_;
    h = (h ^ (h >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    h = (h ^ (h >> 27)) * UINT64_C(0x94D049BB133111EB);
    return h ^ (h >> 31);
  }

 private:
  uint64_t state_;
};

/// Whole numbers / 8 from -range to range, without 0: numbers of every type.
TW_UNSEEN void draw_eighths(float* to, size_t n, uint64_t range, Random source) {
  uint64_t h = 0;
  for (size_t i = 0; i < n; ++i, h >>= 16) {
    if (i % 4 == 0) h = source.next();
    const auto size = static_cast<float>(1 + ((h & 0x7fff) * range >> 15)) / 8;
    to[i] = (h & 0x8000) != 0 ? -size : size;
  }
}

/// Any numbers from -most to most.
TW_UNSEEN void draw_any(float* to, size_t n, double most, Random source) {
  for (size_t i = 0; i < n; ++i) {
    const uint64_t h = source.next();
    const double size = static_cast<double>(h >> 11) * 0x1p-53 * most;
    to[i] = static_cast<float>((h & 1) != 0 ? -size : size);
  }
}

/// Eighths up to range / 8, or random numbers of `type` up to `scale` times that.
Values make(size_t rows, size_t cols, tw_type_t type, bool random, int range, double scale,
            uint64_t seed) {
  Values v{rows, cols, std::vector<float>(rows * cols)};
  float* const to = v.data.data();
  if (random) {
    draw_any(to, v.data.size(), range * scale / 8, Random(seed));
    round_line(type, to, v.data.size());
  } else {
    draw_eighths(to, v.data.size(), static_cast<uint64_t>(range), Random(seed));
  }
  return v;
}

/// A B, added up in T.
template <class T>
Values product_in(const Values& a, const Values& b) {
  Values c{a.rows, b.cols, std::vector<float>(a.rows * b.cols)};
  const std::vector<T> left(a.data.begin(), a.data.end()), right(b.data.begin(), b.data.end());
  std::vector<T> row;
  for (size_t i = 0; i < a.rows; ++i) {
    row.assign(b.cols, 0);
    for (size_t k = 0; k < a.cols; ++k)
      add_scaled(row.data(), left[i * a.cols + k], right.data() + k * b.cols, b.cols);
    std::copy(row.begin(), row.end(), c.data.begin() + static_cast<ptrdiff_t>(i * b.cols));
  }
  return c;
}

/// A B. What is not random are whole numbers / 8 of at most 4 / 8: fp32 has all their sums.
Values product(const Values& a, const Values& b, bool random) {
  if (random) return product_in<double>(a, b);
  if (a.cols >= size_t{1} << 20) std::abort();  // 16 k / 64 must fit in 24 bits
  return product_in<float>(a, b);
}

double activated(double x, Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kSilu:
    case Activation::kSwiGlu:
      return x / (1 + std::exp(-x));
    default:
      return x;
  }
}

size_t sum_of(const std::vector<size_t>& sizes, size_t count) {
  size_t sum = 0;
  for (size_t i = 0; i < count; ++i) sum += sizes[i];
  return sum;
}

Values rows_of(const Values& v, size_t first, size_t rows) {
  return {rows, v.cols,
          std::vector<float>(v.data.begin() + static_cast<ptrdiff_t>(first * v.cols),
                             v.data.begin() + static_cast<ptrdiff_t>((first + rows) * v.cols))};
}

Values cols_of(const Values& v, size_t first, size_t cols) {
  Values part{v.rows, cols, {}};
  for (size_t i = 0; i < v.rows; ++i) {
    const auto row = v.data.begin() + static_cast<ptrdiff_t>(i * v.cols + first);
    part.data.insert(part.data.end(), row, row + static_cast<ptrdiff_t>(cols));
  }
  return part;
}

void append(Values* to, const Values& rows) {
  to->cols = rows.cols;
  to->rows += rows.rows;
  to->data.insert(to->data.end(), rows.data.begin(), rows.data.end());
}

}  // namespace

std::vector<size_t> shards_of(Shards shards, size_t size, int ranks) {
  const size_t n = static_cast<size_t>(ranks);
  std::vector<size_t> sizes(n, 0);
  size_t left = size;
  for (size_t r = 0; r < n; ++r) {
    size_t part = size / n + (r < size % n ? 1 : 0);
    if (shards == Shards::kUneven) part = r % 3 == 1 ? 0 : left / 2 + (r % 2);
    if (shards == Shards::kLast) part = 0;
    sizes[r] = r + 1 == n ? left : std::min(part, left);
    left -= sizes[r];
  }
  return sizes;
}

GemmWork::GemmWork(const GemmCase& c, int ranks, uint64_t seed)
    : c(c),
      ranks(ranks),
      rows(shards_of(c.shards, c.m, ranks)),
      cols(shards_of(c.shards, c.n, ranks)),
      parts(static_cast<size_t>(ranks)) {
  fill(seed);
  Values all;  // gemm_all_to_all: every rank's rows of the result
  for (int r = 0; r < ranks; ++r) {
    GemmPart& part = parts[static_cast<size_t>(r)];
    if (r != 0 && same_everywhere()) {
      part.c = parts[0].c;
      part.hidden = parts[0].hidden;
      continue;
    }
    finish(sums(static_cast<size_t>(r)), part);
    if (c.op == GemmOp::kGemmAllToAll) append(&all, part.c);
  }
  if (c.op != GemmOp::kGemmAllToAll) return;
  all.cols = c.n;
  for (size_t r = 0; r < parts.size(); ++r) parts[r].c = cols_of(all, sum_of(cols, r), cols[r]);
}

void GemmWork::fill(uint64_t seed) {
  const bool addend = takes_addend(c.op);
  const bool sharded = c.op == GemmOp::kAllGatherGemm || c.op == GemmOp::kGemmAllToAll;
  const bool same = sums_ranks(c.op);  // what comes after the sum is the same everywhere
  const double scale = c.k == 0 ? 1 : 8 / std::sqrt(static_cast<double>(c.k));
  Values gathered{0, c.k, {}};
  for (size_t r = 0; r < parts.size(); ++r) {
    GemmPart& part = parts[r];
    const uint64_t own = (seed * 64 + r) * 8, shared = same ? seed * 512 : own;
    const size_t width = addend ? c.n : c.k;
    part.a = make(sharded ? rows[r] : c.m, width, c.type, c.random, 4, 1, own + 1);
    if (!addend) part.b = make(c.k, c.b_cols(), c.type, c.random, 4, scale, own + 2);
    if (c.bias) part.bias = make(1, c.b_cols(), c.out, c.random, 16, 1, shared + 3);
    if (c.residual) part.residual = make(c.m, c.n, c.out, c.random, 16, 1, shared + 4);
    if (c.norm) part.weight = make(1, c.n, c.out, c.random, 12, 1, shared + 5);
    if (c.op == GemmOp::kGemmReduceScatter && c.residual)
      part.residual = rows_of(part.residual, sum_of(rows, r), rows[r]);
    if (c.op == GemmOp::kAllGatherGemm) append(&gathered, part.a);
  }
  if (c.op == GemmOp::kAllGatherGemm)
    for (GemmPart& part : parts) part.gathered = gathered;
}

/// The sums that the epilogue of `rank` begins with: all of its rows.
Values GemmWork::sums(size_t r) const {
  if (c.op == GemmOp::kAllGatherGemm) return product(parts[r].gathered, parts[r].b, c.random);
  if (c.op == GemmOp::kRowEpilogue) return parts[r].a;
  if (!sums_ranks(c.op)) return product(parts[r].a, parts[r].b, c.random);
  const bool scatter = c.op == GemmOp::kGemmReduceScatter;
  const size_t first = scatter ? sum_of(rows, r) : 0, count = scatter ? rows[r] : c.m;
  Values total{count, c.n, std::vector<float>(count * c.n)};
  for (size_t s = 0; s < parts.size(); ++s) {
    const Values own = rows_of(parts[s].a, first, count);
    Values addend = c.op == GemmOp::kAllReduceNorm ? own : product(own, parts[s].b, c.random);
    round_line(c.partial, addend.data.data(), addend.data.size());
    if (s == 0)
      total.data = addend.data;
    else
      add_scaled(total.data.data(), 1.0f, addend.data.data(), total.data.size());
  }
  round_line(c.partial, total.data.data(), total.data.size());
  return total;
}

/// Epilogue and norm of `sum`.
void GemmWork::finish(const Values& sum, GemmPart& part) const {
  Values x{sum.rows, c.n, std::vector<float>(sum.rows * c.n)};
  for (size_t i = 0; i < sum.rows; ++i)
    for (size_t j = 0; j < c.n; ++j) {
      double v = sum.at(i, j);
      if (c.bias) v += part.bias.at(0, j);
      v = activated(v, c.activation);
      if (c.activation == Activation::kSwiGlu)
        v *= static_cast<double>(sum.at(i, c.n + j)) + (c.bias ? part.bias.at(0, c.n + j) : 0);
      if (c.residual) v += part.residual.at(i, j);
      x.data[i * c.n + j] = static_cast<float>(c.norm ? nearest(c.out, v) : v);
    }
  part.c = x;
  if (!c.norm) return;
  if (c.hidden) part.hidden = x;
  for (size_t i = 0; i < x.rows; ++i) {
    double squares = 0;
    for (size_t j = 0; j < c.n; ++j) squares += static_cast<double>(x.at(i, j)) * x.at(i, j);
    const double root = std::sqrt(squares / static_cast<double>(c.n) + kNormEps);
    for (size_t j = 0; j < c.n; ++j)
      part.c.data[i * c.n + j] = static_cast<float>(x.at(i, j) / root * part.weight.at(0, j));
  }
}

}  // namespace tw::test
