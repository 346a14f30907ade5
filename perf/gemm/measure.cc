#include "perf/gemm/measure.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "perf/runner/loops.h"

namespace tw::perf {

namespace {

constexpr size_t kElement = 2;
constexpr size_t kPage = 4096;
constexpr unsigned char kPoison = 0xa5;
constexpr int kMaxIterations = 10000;
constexpr size_t kMostCopies = 64;
// A sample of the result: rows and columns that are looked at, the last ones included.
constexpr size_t kSampleRows = 12, kSampleColumns = 48;

std::vector<size_t> sample(size_t extent, size_t count) {
  std::vector<size_t> at;
  for (size_t i = 0; i < std::min(extent, count); ++i)
    at.push_back(i * extent / std::min(extent, count));
  if (extent > 0) at.push_back(extent - 1);
  return at;
}

int copies_of(const GemmCase& c, const Product& product, int ranks) {
  if (c.copies > 0) return c.copies;
  const size_t bytes = std::max<size_t>(product.n * product.k * kElement, 1);
  const auto cache = static_cast<size_t>(std::max(sysconf(_SC_LEVEL3_CACHE_SIZE), 0L));
  const size_t all = bytes * static_cast<size_t>(ranks);
  return static_cast<int>(std::clamp<size_t>((2 * cache + all - 1) / all, 1, kMostCopies));
}

uint16_t* elements(char* at) { return reinterpret_cast<uint16_t*>(at); }
template <class Memory>
uint16_t* elements(const Memory& memory) {
  return elements(memory.get());
}

}  // namespace

bool GemmMeasure::fuses(const GemmCase& c) {
  const std::optional<tw_fused_op_t> op = c.op->fused();
  if (!op) return false;
  set_up(c);
  return engine_.fuses(*op, next_call(c));
}

void GemmMeasure::forget() {
  weights_.reset();
  copies_ = 0;
}

Problem GemmMeasure::problem(const GemmCase& c) const {
  return {backend_.rank(), backend_.size(), c.m, c.n, c.k};
}

void GemmMeasure::grow(Shared& memory, size_t bytes) {
  // Sizes differ between ranks whose shares do, and windows are made by all together.
  const auto most = static_cast<size_t>(backend_.max(static_cast<double>(bytes)));
  if (most > memory.bytes) memory = {backend_.allocate(most, Memory::kWindow), most};
}

void GemmMeasure::set_up_weights(const GemmCase& c) {
  const Product product = c.op->product(problem(c));
  const int copies = copies_of(c, product, backend_.size());
  if (product != product_) {
    if (!engine_.prepare(product)) copies_ = 0;
    product_ = product;
  }
  if (copies == copies_) return;
  const size_t packed = engine_.packed_bytes();
  stride_ = (packed + kPage - 1) / kPage * kPage;
  weights_.reset();
  weights_.reset(allocate_private(stride_ * static_cast<size_t>(copies)));
  const Private plain(allocate_private(product.k * product.n * kElement));
  fill_weights(elements(plain), backend_.rank(), product.k, product.n);
  engine_.pack(plain.get(), weights_.get());
  for (int copy = 1; copy < copies; ++copy)
    std::memcpy(weights_.get() + stride_ * static_cast<size_t>(copy), weights_.get(), packed);
  copies_ = copies;
}

// What follows an all-reduce: the residual and the norm's weights hold the pattern of weights.
void GemmMeasure::set_up_norm(const GemmCase& c) {
  const Problem p = problem(c);
  const size_t count = c.op->c(p).elements();
  grow(hidden_, count * kElement);
  norm_weight_.reset(allocate_private(p.n * kElement));
  residual_.reset(allocate_private(count * kElement));
  fill_weights(elements(norm_weight_), 0, 1, p.n);
  fill_weights(elements(residual_), 0, p.m, p.n);
}

void GemmMeasure::set_up(const GemmCase& c) {
  const Problem p = problem(c);
  grow(a_, c.op->a(p).elements() * kElement);
  grow(c_, c.op->c(p).elements() * kElement);
  rows_.clear();
  for (int r = 0; r < p.ranks; ++r) rows_.push_back(p.rows_of(r));
  c.op->multiplies() ? set_up_weights(c) : set_up_norm(c);
}

GemmCall GemmMeasure::next_call(const GemmCase& c) {
  GemmCall call;
  call.m = c.m;
  call.n = c.n;
  call.k = c.k;
  call.rows = rows_.data();
  call.a = a_.at;
  call.c = c_.at;
  if (c.op->multiplies()) {
    call.weights = weights_.get() + stride_ * static_cast<size_t>(turn_++ % copies_);
  } else {
    call.residual = residual_.get();
    call.hidden = hidden_.at;
    call.norm_weight = norm_weight_.get();
  }
  return call;
}

uint64_t GemmMeasure::check(const GemmCase& c) {
  set_up(c);
  const Problem p = problem(c);
  const Extent a = c.op->a(p), result = c.op->c(p);
  fill_a(elements(a_.at), p.rank, a.rows, a.columns);
  std::memset(c_.at, kPoison, result.elements() * kElement);
  backend_.barrier();
  c.op->run(engine_, next_call(c));
  const auto unwritten =
      std::count(elements(c_.at), elements(c_.at) + result.elements(), kPoison << 8 | kPoison);
  return wrong_elements(c, Numbers{}) +
         static_cast<uint64_t>(backend_.sum(static_cast<double>(unwritten)));
}

uint64_t GemmMeasure::wrong_elements(const GemmCase& c, const Numbers& numbers) const {
  const Problem p = problem(c);
  const Extent result = c.op->c(p);
  double wrong = 0;
  for (const size_t i : sample(result.rows, kSampleRows))
    for (const size_t j : sample(result.columns, c.op->multiplies() ? kSampleColumns : 1)) {
      const double expected = c.op->expected(p, numbers, i, j);
      const double got = bf16_value(elements(c_.at)[i * result.columns + j]);
      wrong += !(std::fabs(got - expected) <= c.op->tolerance() * std::fabs(expected));
    }
  return static_cast<uint64_t>(backend_.sum(wrong));
}

GemmMeasure::Batch GemmMeasure::run_batch(const GemmCase& c, int iterations) {
  const Problem p = problem(c);
  const size_t a_bytes = c.op->a(p).elements() * kElement;
  const size_t c_bytes = c.op->c(p).elements() * kElement;
  Batch batch{};
  backend_.barrier();
  const double start = now_us();
  for (int i = 0; i < iterations; ++i) {
    fill(a_.at, a_bytes, fill_byte(p.rank, i));
    const GemmCall call = next_call(c);
    const double before = now_us();
    c.op->run(engine_, call);
    batch.call += now_us() - before;
    touch(c_.at, c_bytes);
    if (call.hidden) touch(call.hidden, c_bytes);
  }
  batch.whole = now_us() - start;
  return batch;
}

GemmTimes GemmMeasure::time(const GemmCase& c, const GemmLoop& loop, uint64_t* wrong) {
  set_up(c);
  GemmTimes times;
  times.iterations = loop.iterations;
  if (loop.warm > 0) run_batch(c, loop.warm);
  if (times.iterations <= 0) {
    const double us = std::max(backend_.max(run_batch(c, 1).whole), 1.0);
    times.iterations = std::clamp(static_cast<int>(kBatchMicroseconds / us), 1, kMaxIterations);
  }
  for (int b = 0; b < loop.batches; ++b) {
    const Batch batch = run_batch(c, times.iterations);
    times.whole.push_back(backend_.max(batch.whole) / times.iterations);
    times.call.push_back(backend_.max(batch.call) / times.iterations);
  }
  if (wrong && loop.batches > 0) *wrong += wrong_elements(c, Numbers{times.iterations - 1});
  return times;
}

}  // namespace tw::perf
