#include "perf/gemm/numbers.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "perf/runner/loops.h"
#include "perf/runner/values.h"

namespace tw::perf {

namespace {

constexpr size_t kPeriod = 1009;  // a prime, so that a displaced block never fits

struct Table {
  std::array<uint16_t, kPeriod> bits;
  std::array<double, kPeriod> values;
};

// 1, -1, 2, -2, mixed by a linear congruence.
Table make_table(uint32_t seed) {
  constexpr double kValues[] = {1, -1, 2, -2};
  Table table;
  for (size_t i = 0; i < kPeriod; ++i) {
    seed = seed * 1664525u + 1013904223u;
    table.values[i] = kValues[seed >> 30];
    store_value(table.bits.data(), i, TW_BF16, table.values[i]);
  }
  return table;
}

const Table& a_table() {
  static const Table table = make_table(1);
  return table;
}
const Table& weight_table() {
  static const Table table = make_table(2);
  return table;
}

// Where in its table an element lies; elements that follow each other in a row do so there too.
size_t a_index(int rank, size_t i, size_t k) {
  return (i * 331 + k + static_cast<size_t>(rank) * 17) % kPeriod;
}
size_t weight_index(int rank, size_t k, size_t j) {
  return (k * 577 + j + static_cast<size_t>(rank) * 29) % kPeriod;
}

void fill_row(uint16_t* to, const Table& table, size_t from, size_t columns) {
  for (size_t done = 0; done < columns;) {
    const size_t count = std::min(columns - done, kPeriod - from);
    std::memcpy(to + done, table.bits.data() + from, count * sizeof(uint16_t));
    done += count;
    from = 0;
  }
}

}  // namespace

double bf16_value(uint16_t bits) { return load_value(&bits, 0, TW_BF16); }

double rounded(double value) {
  uint16_t bits;
  store_value(&bits, 0, TW_BF16, value);
  return bf16_value(bits);
}

double Numbers::a(int rank, size_t i, size_t k) const {
  if (iteration == kPattern) return a_table().values[a_index(rank, i, k)];
  const unsigned byte = fill_byte(rank, iteration);
  return bf16_value(static_cast<uint16_t>(byte << 8 | byte));
}

double Numbers::weight(int rank, size_t k, size_t j) {
  return weight_table().values[weight_index(rank, k, j)];
}

double Numbers::product(int a_rank, size_t i, int b_rank, size_t j, size_t k) const {
  // A fill is the same everywhere: asked for once.
  const double same = iteration == kPattern ? 0 : a(a_rank, 0, 0);
  double sum = 0;
  for (size_t at = 0; at < k; ++at)
    sum += (iteration == kPattern ? a(a_rank, i, at) : same) * weight(b_rank, at, j);
  return sum;
}

void fill_a(uint16_t* to, int rank, size_t rows, size_t columns) {
  for (size_t i = 0; i < rows; ++i)
    fill_row(to + i * columns, a_table(), a_index(rank, i, 0), columns);
}

void fill_weights(uint16_t* to, int rank, size_t rows, size_t columns) {
  for (size_t k = 0; k < rows; ++k)
    fill_row(to + k * columns, weight_table(), weight_index(rank, k, 0), columns);
}

}  // namespace tw::perf
