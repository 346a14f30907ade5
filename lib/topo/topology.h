// What the machine looks like.
#pragma once

#include <string>

namespace tw {

/// Packages, NUMA nodes, caches, cores and devices of this machine, and the cores that the calling
/// thread may use: one line each, for people. Throws SYSTEM when hwloc cannot tell.
std::string describe_topology();

}  // namespace tw
