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
#include "lib/program/products.h"
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
  uint32_t context;            // positions
  const float* cosines;        // [context][head_size / 2]
  const float* sines;
  AttentionLimits attention;
  AttentionPlan* plan;
  float* partials;  // of attention
  KvMemory kv;
};

struct LlamaProgram {
  BuiltProgram whole;
  std::vector<ProgramImage> parts;  // a launch for each op
};
/// Waits and order do not depend on where things are: the context's data and tables may be null.
LlamaProgram build_llama(const LlamaContext& context, const StepSize& size);

/// The instructions of all devices, with their waits.
Program llama_instructions(const LlamaContext& context, const StepSize& size);

/// Arguments for a program of that size, now that things are where `context` says.
std::vector<char> llama_arguments(const LlamaContext& context, const StepSize& size);

}  // namespace tw
