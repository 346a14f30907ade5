// What the collectives add to a comm when it is made.
#pragma once

#include <string>

#include "lib/comm/comm.h"

namespace tw::api {

/// Settings of the collectives that must agree between ranks, as "key=value" lines.
std::string collectives_agreement();

/// Gives a new comm its collectives.
void attach_collectives(Comm& comm);

/// Blocks of later collective launches; 0 = the config's.
void set_collective_blocks(Comm& comm, int max_blocks);

}  // namespace tw::api
