#include "perf/runner/measure.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "perf/runner/loops.h"
#include "perf/runner/values.h"

namespace tw::perf {

namespace {

constexpr size_t kAlign = 4096;
constexpr unsigned char kPoison = 0xa5;
constexpr int kMaxIterations = 20000;

size_t round_up(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// One period of inputs of each rank, and of their reduction behind them, as the type's bytes.
std::vector<std::vector<char>> expected_tables(int n, tw_type_t type, tw_op_t redop) {
  const size_t element = type_row(type).bytes;
  std::vector<std::vector<char>> tables(static_cast<size_t>(n) + 1);
  for (auto& table : tables) table.resize(kInputPeriod * element);
  std::vector<double> inputs(static_cast<size_t>(n));
  for (size_t i = 0; i < kInputPeriod; ++i) {
    for (int r = 0; r < n; ++r) {
      const auto at = static_cast<size_t>(r);
      store_value(tables[at].data(), i, type, input_value(r, i, type, redop));
      inputs[at] = load_value(tables[at].data(), i, type);
    }
    store_value(tables.back().data(), i, type, reduced_value(inputs.data(), n, type, redop));
  }
  return tables;
}

// A sum of repeated fill bytes may round differently in each order; anything else is exact.
bool close(double got, double expected, tw_type_t type, int n) {
  double epsilon = 0;
  switch (type) {
    case TW_FP16:
      epsilon = 0x1p-10;
      break;
    case TW_BF16:
      epsilon = 0x1p-7;
      break;
    case TW_FP32:
      epsilon = 0x1p-23;
      break;
    case TW_FP64:
      epsilon = 0x1p-52;
      break;
    case TW_FP8_E4M3:
      epsilon = 0x1p-3;
      break;
    case TW_FP8_E5M2:
      epsilon = 0x1p-2;
      break;
    default:
      break;
  }
  return std::fabs(got - expected) <= n * epsilon * std::fabs(expected);
}

// Whether load_value, reduced_value and store_value model what happens to large fill values.
bool can_sample(const Case& c) {
  const bool wide = c.type == TW_INT64 || c.type == TW_UINT64;
  const bool integer = c.type <= TW_UINT64;
  return !c.op->reduces() || (!wide && c.redop != TW_PROD && !(integer && c.redop == TW_AVG));
}

}  // namespace

Measure::Measure(Backend& backend, size_t max_bytes, Memory memory, int rotate)
    : backend_(backend),
      // A split op has at least one element for each rank.
      capacity_(
          round_up(std::max(max_bytes, sizeof(double) * static_cast<size_t>(backend.size())))),
      rotate_(std::max(rotate, 1)),
      memory_(backend.allocate(2 * capacity_ * static_cast<size_t>(rotate_), memory)) {}

Place Measure::place(const Case& c) const {
  const int n = backend_.size();
  return {backend_.rank(), n, c.root, c.op->count(c.bytes, type_row(c.type).bytes, n)};
}

Measure::Buffers Measure::buffers(const Case& c, int set) const {
  const size_t element = type_row(c.type).bytes;
  const Place p = place(c);
  char* base = memory_ + 2 * capacity_ * static_cast<size_t>(set % rotate_);
  Buffers b{base, base + capacity_, c.op->send_elements(p) * element,
            c.op->recv_elements(p) * element};
  if (c.in_place) {
    b.send = base + c.op->in_place_send(p) * element;
    b.recv = base + c.op->in_place_recv(p) * element;
  }
  return b;
}

Call Measure::call(const Case& c, const Buffers& b) const {
  return {b.send, b.recv, place(c).count, c.type, c.redop, c.root};
}

uint64_t Measure::check(const Case& c) {
  const size_t element = type_row(c.type).bytes;
  const Place p = place(c);
  const Buffers b = buffers(c, 0);
  const auto tables = expected_tables(p.n, c.type, c.redop);
  const auto at = [&](int rank, size_t index) {
    const size_t table = rank == Source::kAllRanks ? tables.size() - 1 : static_cast<size_t>(rank);
    return tables[table].data() + index % kInputPeriod * element;
  };
  std::memset(b.recv, kPoison, b.recv_bytes);
  for (size_t i = 0; i < b.send_bytes / element; i += kInputPeriod)
    std::memcpy(b.send + i * element, at(p.rank, 0),
                std::min(kInputPeriod * element, b.send_bytes - i * element));
  c.op->run(backend_, call(c, b));
  backend_.synchronize();
  double wrong = 0;
  for (size_t i = 0; i < b.recv_bytes / element; ++i) {
    const Source source = c.op->source(p, i);
    wrong += std::memcmp(b.recv + i * element, at(source.rank, source.index), element) != 0;
  }
  return static_cast<uint64_t>(backend_.sum(wrong));
}

double Measure::run_batch(const Case& c, const Loop& loop, int iterations, int set) {
  const Buffers b = buffers(c, set);
  const Call arguments = call(c, b);
  const bool bare = loop.raw || loop.queued;
  backend_.barrier();
  backend_.synchronize();
  const double start = now_us();
  for (int i = 0; i < iterations; ++i) {
    if (!bare) fill(b.send, b.send_bytes, fill_byte(backend_.rank(), i));
    c.op->run(backend_, arguments);
    if (!bare) touch(b.recv, b.recv_bytes);
  }
  backend_.synchronize();
  return now_us() - start;
}

int Measure::iterations_for(const Case& c, const Loop& loop, double batch_us) {
  for (int iterations = 1;; iterations *= 4) {
    const double us = std::max(backend_.max(run_batch(c, loop, iterations, 0)), 0.01);
    if (us >= batch_us / 4 || iterations >= kMaxIterations)
      return std::clamp(static_cast<int>(iterations * batch_us / us), 1, kMaxIterations);
  }
}

std::vector<double> Measure::time(const Case& c, const Loop& loop, uint64_t* wrong) {
  const int iterations =
      loop.iterations > 0 ? loop.iterations : iterations_for(c, loop, kBatchMicroseconds);
  std::vector<double> us;
  if (loop.warm > 0) run_batch(c, loop, loop.warm, 0);
  for (int batch = 0; batch < loop.batches; ++batch) {
    const double slowest = backend_.max(run_batch(c, loop, iterations, batch));
    us.push_back(slowest / iterations * c.op->time_scale());
  }
  const bool sampled = wrong && !loop.raw && !loop.queued && can_sample(c);
  if (sampled) *wrong += sample_wrong(c, iterations, loop.batches - 1);
  return us;
}

uint64_t Measure::sample_wrong(const Case& c, int iterations, int set) const {
  const Place p = place(c);
  const Buffers b = buffers(c, set);
  std::vector<double> inputs(static_cast<size_t>(p.n));
  char element[8];
  for (int r = 0; r < p.n; ++r) {
    std::memset(element, fill_byte(r, iterations - 1), sizeof(element));
    inputs[static_cast<size_t>(r)] = load_value(element, 0, c.type);
  }
  store_value(element, 0, c.type, reduced_value(inputs.data(), p.n, c.type, c.redop));
  const double reduced = load_value(element, 0, c.type);
  const size_t elements = b.recv_bytes / type_row(c.type).bytes;
  const size_t step = std::max<size_t>(elements / 257, 1);
  double wrong = 0;
  for (size_t i = 0; i < elements; i += step) {
    const int rank = c.op->source(p, i).rank;
    const double expected = rank == Source::kAllRanks ? reduced : inputs[static_cast<size_t>(rank)];
    wrong += !close(load_value(b.recv, i, c.type), expected, c.type, p.n);
  }
  return static_cast<uint64_t>(backend_.sum(wrong));
}

}  // namespace tw::perf
