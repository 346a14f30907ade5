// Whether a program is right, whoever made it.
#pragma once

#include "lib/program/program.h"

namespace tw {

/// Throws INVALID_ARGUMENT, with the two instructions or the instruction and what it names, unless
///  - every number names something, every access lies in its tensor, counters say how often they
///    are raised and are raised on their own device only;
///  - every wait is for raises of instructions that are earlier in the order (or of the launch
///    before), and a device that waits for another's counter is told;
///  - any two accesses to a part of the same memory of which one writes are ordered by waits, in
///    a launch and from a launch to the next;
///  - where the program meets, what is accessed on another device is waited for there.
/// A wait for some of a counter's raises says nothing about any one of them, so it orders nothing.
void check_program(const Program& program);

}  // namespace tw
