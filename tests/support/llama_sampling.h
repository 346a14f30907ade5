// How the next token is chosen from logits, in float64.
#pragma once

#include <vector>

namespace tw::test {

/// Applied in this order: temperature, the top_k most probable (0: all), of these the fewest whose
/// probabilities, renormalised, sum to top_p or more. Ties go to the smaller token.
struct Sampling {
  double temperature = 0;  // 0: greedy, whatever the others say
  int top_k = 0;
  double top_p = 1;
};

struct Candidate {
  int token;
  double probability;  // among the candidates
};

/// The tokens that may be drawn, most probable first.
std::vector<Candidate> candidates(const double* logits, int vocab, const Sampling& sampling);

/// The first candidate at which the running sum of probabilities exceeds `uniform`, 0 <= it < 1.
int sample(const double* logits, int vocab, const Sampling& sampling, double uniform);

/// The largest logit's token.
int greedy(const double* logits, int vocab);

}  // namespace tw::test
