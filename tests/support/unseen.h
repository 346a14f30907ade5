// Functions that no sanitizer looks into: inner loops of the tests' own, over memory that only the
// caller has. They are most of what many tests compute.
#pragma once

#define TW_UNSEEN \
  __attribute__((no_sanitize("thread"), no_sanitize("address"), no_sanitize("undefined")))

/// What such functions call in their loops: inlined at every level of optimisation.
#define TW_INNER TW_UNSEEN __attribute__((always_inline))
