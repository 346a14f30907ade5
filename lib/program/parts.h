// A program op by op: what it is compared with.
#pragma once

#include <vector>

#include "lib/program/image.h"

namespace tw {

/// The part of `device` in a program for each op, in order, each to be launched when the one before
/// it is over. What an op accesses at other devices is waited for there, in the same launch, by
/// an instruction of `take`, an op that does nothing when its `at` is zeros.
std::vector<ProgramImage> parts_of(const Program& program, int take, int device);

}  // namespace tw
