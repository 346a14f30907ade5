// A program op by op: what it is compared with.
#pragma once

#include <vector>

#include "lib/program/image.h"

namespace tw {

/// Adds, for each device, an instruction of `take` that comes after what the others access there:
/// as if it read what they write, and wrote what they read.
void add_takes(Program* part, int take);

/// The part of `device` in a program for each op, in order, each to be launched when the one before
/// it is over. What an op accesses at other devices is waited for there, in the same launch, by
/// an instruction of `take`, an op that does nothing when its `at` is zeros.
std::vector<ProgramImage> parts_of(const Program& program, int take, int device);

}  // namespace tw
