// The matrices of the benchmark. Weights and the A of a check hold +-1 and +-2 in a pattern that
// differs by row, column and rank; the A of a timed iteration is one byte, repeated. Both sum
// without rounding in fp32, in any order, so that results are compared exactly.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tw::perf {

double rounded(double value);  // to bf16, nearest even
double bf16_value(uint16_t bits);

struct Numbers {
  static constexpr int kPattern = -1;
  int iteration = kPattern;  // which iteration's fill A holds; kPattern: the pattern

  double a(int rank, size_t i, size_t k) const;
  static double weight(int rank, size_t k, size_t j);
  // Element (i, j) of the product of a_rank's A, row i, with b_rank's weights, column j.
  double product(int a_rank, size_t i, int b_rank, size_t j, size_t k) const;
};

// Fills with the pattern: rows x columns elements of A, rows (K) x columns of the weights.
void fill_a(uint16_t* to, int rank, size_t rows, size_t columns);
void fill_weights(uint16_t* to, int rank, size_t rows, size_t columns);

}  // namespace tw::perf
