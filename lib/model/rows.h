// Rows of numbers on their way into and out of a model.
#pragma once

#include <cstddef>

#include "tilewire/tile/matrix.h"

namespace tw {

/// to[i][j] = from[i][j] for `rows` x `cols`, rounded to `to`'s type.
void copy_rows(const Matrix& from, const Matrix& to, size_t rows, size_t cols);

}  // namespace tw
