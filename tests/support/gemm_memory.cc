#include "tests/support/gemm_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "tests/support/number_lines.h"
#include "tests/support/unseen.h"

namespace tw::test {
namespace {

constexpr size_t kGuard = 192;
constexpr size_t kAlign = 64;
constexpr size_t kArena = size_t{64} << 20;

size_t element_of(tw_type_t type) { return type == TW_FP32 ? 4 : 2; }
size_t up(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

/// to[i] = from[i * step].
TW_UNSEEN void gather(float* to, const float* from, size_t step, size_t n) {
  for (size_t i = 0; i < n; ++i) to[i] = from[i * step];
}

/// The first of `n` that is not as wanted: equal where `tolerance` is 0.
TW_UNSEEN size_t first_far(const float* got, const float* want, size_t n, double tolerance) {
  for (size_t i = 0; i < n; ++i) {
    const double x = static_cast<double>(got[i]), y = static_cast<double>(want[i]);
    const double size = std::fabs(y) > 1 ? std::fabs(y) : 1;
    if (tolerance == 0 ? x != y : !(std::fabs(x - y) <= tolerance * size)) return i;
  }
  return n;
}

}  // namespace

GpuArena::GpuArena(int ordinal)
    : gpu_(ordinal), memory_(static_cast<char*>(gpu_.allocate(kArena))) {}

GpuArena::~GpuArena() { gpu_.free(memory_); }

char* GpuArena::allocate(size_t bytes) {
  char* const at = memory_ + used_;
  used_ += up(bytes, kGuard * 4);
  if (used_ > kArena) std::abort();
  return at;
}

bool in_window(Placing placing, int rank) {
  return placing == Placing::kWindow || (placing == Placing::kMixed && rank % 2 == 0);
}

size_t window_bytes_of(const GemmCase& c) {
  return 2 * (c.m * (c.n + 5) * 4 + 4 * kGuard + 4 * kAlign);
}

Placed::Placed(size_t rows, size_t cols, tw_type_t type, bool strided, char* window, size_t* offset,
               GpuArena* gpu)
    : rows_(rows), cols_(cols), stride_(strided ? cols + 5 : cols), type_(type), gpu_(gpu) {
  const size_t element = element_of(type), skew = strided ? element : 0;
  bytes_ = up(2 * kGuard + skew + rows * stride_ * element, kAlign);
  if (window != nullptr) {
    (gpu == nullptr ? begin_ : there_) = window + *offset;
    window_offset_ = *offset + kGuard + skew;
    *offset += bytes_;
  } else if (gpu != nullptr) {
    there_ = gpu->allocate(bytes_);
  }
  if (begin_ == nullptr) {
    own_.resize(bytes_ + kAlign);
    begin_ = own_.data() + (kAlign - reinterpret_cast<uintptr_t>(own_.data()) % kAlign);
  }
  data_ = begin_ + kGuard + skew;
}

void Placed::send() const {
  if (gpu_ != nullptr) gpu_->gpu().write(there_, begin_, bytes_);
}
void Placed::fetch() {
  if (gpu_ != nullptr) gpu_->gpu().read(begin_, there_, bytes_);
}

void Placed::poison() { std::memset(begin_, kTilePoison, bytes_); }

char* Placed::row(size_t i) const { return data_ + i * stride_ * element_of(type_); }

void Placed::write(const Values& values) {
  for (size_t i = 0; i < rows_; ++i)
    write_line(type_, row(i), values.data.data() + i * cols_, cols_);
}

void Placed::write_transposed(const Values& values) {
  std::vector<float> line(cols_);
  for (size_t i = 0; i < rows_; ++i) {
    gather(line.data(), values.data.data() + i, values.cols, cols_);
    write_line(type_, row(i), line.data(), cols_);
  }
}

void Placed::read_row(size_t i, float* to) const { read_line(type_, to, row(i), cols_); }

void Placed::append_to(std::vector<char>* bytes) const {
  for (size_t i = 0; i < rows_; ++i)
    bytes->insert(bytes->end(), row(i), row(i) + cols_ * element_of(type_));
}

bool Placed::rest_is_poison() {
  for (size_t i = 0; i < rows_; ++i) std::memset(row(i), kTilePoison, cols_ * element_of(type_));
  // Each byte is the next one.
  return static_cast<unsigned char>(*begin_) == kTilePoison &&
         std::memcmp(begin_, begin_ + 1, bytes_ - 1) == 0;
}

GemmMemory::GemmMemory(const GemmCase& c, int rank, int ranks, char* window, size_t offset,
                       GpuArena* gpu)
    : c_(c),
      rank_(rank),
      ranks_(ranks),
      rows_(shards_of(c.shards, c.m, ranks)),
      cols_(shards_of(c.shards, c.n, ranks)),
      gpu_(gpu) {
  const auto r = static_cast<size_t>(rank);
  const bool own_rows = c.op == GemmOp::kAllGatherGemm || c.op == GemmOp::kGemmAllToAll;
  const auto own = [&](size_t rows, size_t cols, tw_type_t type, bool strided) {
    return Placed(rows, cols, type, strided, nullptr, nullptr, gpu);
  };
  const size_t a_rows = own_rows ? rows_[r] : c.m, a_cols = takes_addend(c.op) ? c.n : c.k;
  a_ = c.a_transposed ? own(a_cols, a_rows, c.type, c.strided)
                      : own(a_rows, a_cols, c.type, c.strided);
  if (!takes_addend(c.op))
    b_ = c.b_transposed ? own(c.b_cols(), c.k, c.type, c.strided)
                        : own(c.k, c.b_cols(), c.type, c.strided);
  const size_t c_rows = c.op == GemmOp::kGemmReduceScatter ? rows_[r] : c.m;
  const size_t c_cols = c.op == GemmOp::kGemmAllToAll ? cols_[r] : c.n;
  if (c.bias) bias_ = own(1, c.b_cols(), c.out, false);
  if (c.residual) residual_ = own(c_rows, c.n, c.out, c.strided);
  if (c.norm) weight_ = own(1, c.n, c.out, false);
  c_out_ = Placed(c_rows, c_cols, c.out, c.strided, window, &offset, gpu);
  if (c.hidden) hidden_ = Placed(c_rows, c_cols, c.out, c.strided, window, &offset, gpu);
  if (c.gathered)
    gathered_ =
        c.a_transposed ? own(c.k, c.m, c.type, c.strided) : own(c.m, c.k, c.type, c.strided);
}

void GemmMemory::write(const GemmWork& work) {
  const GemmPart& part = this->part(work);
  c_.a_transposed ? a_.write_transposed(part.a) : a_.write(part.a);
  if (!b_.none()) c_.b_transposed ? b_.write_transposed(part.b) : b_.write(part.b);
  if (c_.bias) bias_.write(part.bias);
  if (c_.residual) residual_.write(part.residual);
  if (c_.norm) weight_.write(part.weight);
  for (Placed* output : {&c_out_, &hidden_, &gathered_})
    if (!output->none()) output->poison();
  for (const Placed* all : {&a_, &b_, &bias_, &residual_, &weight_, &c_out_, &hidden_, &gathered_})
    if (!all->none()) all->send();
}

bool GemmMemory::check_matrix(Placed& got, const Values& want, double tolerance,
                              const std::string& what) {
  std::vector<float> row(want.cols), exact;
  for (size_t i = 0; i < want.rows; ++i) {
    const float* const wanted = want.data.data() + i * want.cols;
    got.read_row(i, row.data());
    exact.assign(wanted, wanted + want.cols);
    if (tolerance == 0) round_line(got.matrix().type, exact.data(), want.cols);
    const size_t j = first_far(row.data(), exact.data(), want.cols, tolerance);
    if (j == want.cols) continue;
    ADD_FAILURE() << what << ": element (" << i << ", " << j << ") of " << want.rows << "x"
                  << want.cols << " is " << row[j] << ", not " << wanted[j];
    return false;
  }
  if (got.rest_is_poison()) return true;
  ADD_FAILURE() << what << ": written outside";
  return false;
}

bool GemmMemory::check(const GemmWork& work, const std::string& what) {
  const GemmPart& part = this->part(work);
  if (gpu_ != nullptr) gpu_->gpu().synchronize();
  for (Placed* output : {&c_out_, &hidden_, &gathered_})
    if (!output->none()) output->fetch();
  const std::string who = what + ", rank " + std::to_string(rank_);
  const bool good = check_matrix(c_out_, part.c, c_.tolerance, who + ": C");
  if (!good) return false;
  if (c_.hidden && !check_matrix(hidden_, part.hidden, c_.exact() ? 0 : c_.tolerance, who + ": x"))
    return false;
  if (!c_.gathered) return true;
  if (!c_.a_transposed) return check_matrix(gathered_, part.gathered, 0, who + ": gathered");
  const size_t rows = part.gathered.cols, cols = part.gathered.rows;
  Values transposed{rows, cols, std::vector<float>(rows * cols)};
  for (size_t k = 0; k < rows; ++k)
    gather(transposed.data.data() + k * cols, part.gathered.data.data() + k, rows, cols);
  return check_matrix(gathered_, transposed, 0, who + ": gathered");
}

std::vector<char> GemmMemory::results() const {
  std::vector<char> bytes;
  for (const Placed* from : {&c_out_, &hidden_})
    if (!from->none()) from->append_to(&bytes);
  return bytes;
}

}  // namespace tw::test
