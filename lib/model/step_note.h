// What ranks must agree on in a step: everything but where each has its results.
#pragma once

#include <cstdint>
#include <string>

#include "lib/model/desc.h"
#include "lib/model/model.h"

namespace tw {

/// X(number or array, word of it)
#define TW_STEP_NOTE_MAP(X) \
  X(rows)                   \
  X(sequences)              \
  X(logit_rows)             \
  X(first_layer)            \
  X(last_layer)             \
  X(logits_to)              \
  X(hidden_in)              \
  X(hidden_out)             \
  X(log_probability)        \
  X(tokens)                 \
  X(positions)              \
  X(slots)                  \
  X(query_begin)            \
  X(page_begin)             \
  X(pages)                  \
  X(logit_row)              \
  X(sampling)               \
  X(allowed)

/// Numbers as they are, results by whether they are wanted, arrays by a digest (0: not
/// given). Plain data, which peers read.
struct StepNote {
#define TW_STEP_NOTE_FIELD(name) uint64_t name = 0;
  TW_STEP_NOTE_MAP(TW_STEP_NOTE_FIELD)
#undef TW_STEP_NOTE_FIELD

  uint64_t digest() const;
};

/// Of a checked step.
StepNote note_of(const Step& step, const ModelDesc& desc);

/// "rows 4, tokens #1f2e3d4c": what `note` says where `other` says something else.
std::string difference(const StepNote& note, const StepNote& other);

}  // namespace tw
