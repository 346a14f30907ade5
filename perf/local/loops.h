// The local loops of one target, behind plain functions: loops.cc is compiled once per target.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire.h"

namespace tw::perf {

struct LocalLoops {
  const char* target;
  void (*copy)(void* to, const void* from, size_t bytes, bool non_temporal);
  void (*reduce)(tw_type_t type, void* to, const void* const* from, int sources, size_t bytes,
                 size_t element, bool non_temporal);
  // Payload into packets, and back out of them.
  void (*pack)(void* inbox, const void* from, size_t bytes, uint64_t word);
  void (*unpack)(void* to, const void* inbox, size_t bytes, uint64_t word);
  size_t packet_bytes, packet_payload;
};

}  // namespace tw::perf
