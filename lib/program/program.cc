#include "lib/program/program.h"

#include <utility>

#include "lib/base/error.h"

namespace tw {
namespace {

/// a .. a + n - 1 and b .. b + m - 1 have something in common. Ends may be those of size_t.
bool meet(size_t a, size_t n, size_t b, size_t m) {
  return a < b ? b - a < n && m > 0 : a - b < m && n > 0;
}

bool contains(size_t a, size_t n, size_t b, size_t m) {
  return m == 0 || (b >= a && b - a <= n && m <= n - (b - a));
}

/// Of a .. a + n - 1 what lies before and after b .. b + m - 1, which it meets: `before` numbers
/// from a, and `after` of them from `after_at`. Ends may be those of size_t.
void cut(size_t a, size_t n, size_t b, size_t m, size_t* before, size_t* after_at, size_t* after) {
  *before = b > a ? b - a : 0;
  const size_t within = m - (a > b ? a - b : 0);  // of the cut, from where both begin
  const size_t rest = n - *before;
  *after = rest > within ? rest - within : 0;
  *after_at = *after == 0 ? a : a + (n - *after);
}

}  // namespace

bool Region::overlaps(const Region& other) const {
  return device == other.device && tensor == other.tensor &&
         meet(row, rows, other.row, other.rows) && meet(col, cols, other.col, other.cols);
}

bool Region::covers(const Region& other) const {
  return device == other.device && tensor == other.tensor &&
         contains(row, rows, other.row, other.rows) && contains(col, cols, other.col, other.cols);
}

std::array<Region, 2> Region::without(const Region& other) const {
  std::array<Region, 2> rest = {*this, {device, tensor, row, 0, col, 0}};
  if (!overlaps(other)) return rest;
  const bool all_cols = contains(other.col, other.cols, col, cols);
  const bool all_rows = contains(other.row, other.rows, row, rows);
  if (all_cols) {
    rest[1] = *this;
    cut(row, rows, other.row, other.rows, &rest[0].rows, &rest[1].row, &rest[1].rows);
  } else if (all_rows) {
    rest[1] = *this;
    cut(col, cols, other.col, other.cols, &rest[0].cols, &rest[1].col, &rest[1].cols);
  }
  if (rest[0].empty()) std::swap(rest[0], rest[1]);
  return rest;
}

std::string Program::name_of(int instruction) const {
  const Instruction& i = instructions[static_cast<size_t>(instruction)];
  const auto op = static_cast<size_t>(i.op);
  return text("instruction %d (%s, device %d)", instruction,
              op < ops.size() ? ops[op].c_str() : "unnamed op", i.device);
}

}  // namespace tw
