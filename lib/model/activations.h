// What a step works in: one layout for the programs of all sizes, at addresses that peers reach
// (the data of the model's tile set), the same on every rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lib/model/desc.h"
#include "lib/model/share.h"
#include "tilewire/kernels/llama.h"

namespace tw {

/// A size of step: the most rows and logits.
struct StepSize {
  uint32_t rows, logit_rows;
};
/// Those for steps of up to `rows`: powers of two, so that at most half of a program's rows are
/// empty.
std::vector<StepSize> step_sizes(uint32_t rows, uint32_t logit_rows);

struct Activations {
  Activations(const ModelDesc& desc, const ModelShare& share, int ranks, uint32_t rows,
              uint32_t logit_rows);

  SharedMatrix x;                  // rows x hidden, fp32: the residual stream
  SharedMatrix y;                  // rows x hidden: normed, what products read
  SharedMatrix qkv;                // rows x the heads of a rank
  SharedMatrix attended;           // rows x q
  SharedMatrix gated;              // rows x feed-forward columns of a rank
  SharedMatrix o_sums, down_sums;  // rows kept x hidden of the lowest rank, then the next ...
  SharedMatrix hidden;             // rows x hidden, fp32: what a part of a model gives on
  SharedMatrix wanted;             // logit rows x hidden: rows of y
  SharedMatrix logits;             // logit rows x vocab, fp32
  SharedMatrix records;  // logit rows x SampleRecord of the lowest rank, then the next ...
  size_t sender_bytes;   // from one rank's sums to the next one's
  size_t record_bytes;   // from one rank's records to the next one's
  size_t bytes;          // of all
};

}  // namespace tw
