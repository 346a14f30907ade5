#include "lib/program/program.h"

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

}  // namespace

bool Region::overlaps(const Region& other) const {
  return device == other.device && tensor == other.tensor &&
         meet(row, rows, other.row, other.rows) && meet(col, cols, other.col, other.cols);
}

bool Region::covers(const Region& other) const {
  return device == other.device && tensor == other.tensor &&
         contains(row, rows, other.row, other.rows) && contains(col, cols, other.col, other.cols);
}

std::string Program::name_of(int instruction) const {
  const Instruction& i = instructions[static_cast<size_t>(instruction)];
  const auto op = static_cast<size_t>(i.op);
  return text("instruction %d (%s, device %d)", instruction,
              op < ops.size() ? ops[op].c_str() : "unnamed op", i.device);
}

}  // namespace tw
