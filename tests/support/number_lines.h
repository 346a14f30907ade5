// Lines of elements of the float types that matrices have, by the tests' own rounding: one switch
// over the type a line, and no sanitizer looks into the rounding. Elements are copied where it
// does, so it sees who reads and writes them.
#pragma once

#include <cstddef>

#include "tilewire.h"

namespace tw::test {

/// The elements near from[0 .. n).
void write_line(tw_type_t type, void* to, const float* from, size_t n);
/// The values of n elements.
void read_line(tw_type_t type, float* to, const void* from, size_t n);
/// Makes numbers of `type` of what is there.
void round_line(tw_type_t type, float* line, size_t n);

}  // namespace tw::test
