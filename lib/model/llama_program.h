// A Llama model's step as a program.
//
// Few rows: every rank gets every rank's partial sums and keeps the whole residual stream (one hand
// over). Many: rows have owners, who add, norm and give the normed rows to all (sequence-parallel).
#pragma once

#include <cstdint>

#include "lib/model/activations.h"
#include "lib/model/model.h"
#include "lib/model/share.h"
#include "lib/model/weights.h"
#include "lib/program/builder.h"
#include "tilewire/kernels/attention.h"

namespace tw {

/// What the programs of one rank refer to. All of it outlives them.
struct LlamaContext {
  const ModelDesc& desc;
  const ModelShare& share;
  const ModelWeights& weights;
  const Activations& memory;
  int rank, ranks;
  int workers;  // the most that a rank has
  char* data;   // this rank's part of the tile set's data
  const StepView* step;
  const uint32_t* layer_rows;  // [layers] the step's rows, or 0 for layers that are left out
  const float* cosines;        // [context][head_size / 2]
  const float* sines;
  AttentionPlan* plan;
  float* attention_partials;
  KvMemory kv;
};

/// A size of step: the most rows and logits.
struct StepSize {
  uint32_t rows, logit_rows;
};

/// From so many rows on, rows have owners.
inline constexpr uint32_t kOwnedRows = 64;

BuiltProgram build_llama(const LlamaContext& context, const StepSize& size);

}  // namespace tw
