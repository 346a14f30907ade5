#include "tests/support/llama_sampling.h"

#include <algorithm>
#include <cmath>

namespace tw::test {
namespace {

void normalise(std::vector<Candidate>& list) {
  double sum = 0;
  for (const Candidate& c : list) sum += c.probability;
  for (Candidate& c : list) c.probability /= sum;
}

}  // namespace

std::vector<Candidate> candidates(const double* logits, int vocab, const Sampling& sampling) {
  const int best = greedy(logits, vocab);
  if (sampling.temperature == 0) return {{best, 1}};
  std::vector<Candidate> list(vocab);
  for (int i = 0; i < vocab; ++i)
    list[i] = {i, std::exp((logits[i] - logits[best]) / sampling.temperature)};
  std::stable_sort(list.begin(), list.end(), [](const Candidate& a, const Candidate& b) {
    return a.probability > b.probability;
  });
  if (sampling.top_k > 0 && sampling.top_k < vocab) list.resize(sampling.top_k);
  normalise(list);
  double sum = 0;
  size_t kept = 0;
  while (kept < list.size() && (kept == 0 || sum < sampling.top_p)) sum += list[kept++].probability;
  list.resize(kept);
  normalise(list);
  return list;
}

int sample(const double* logits, int vocab, const Sampling& sampling, double uniform) {
  const std::vector<Candidate> list = candidates(logits, vocab, sampling);
  double sum = 0;
  for (const Candidate& c : list) {
    sum += c.probability;
    if (sum > uniform) return c.token;
  }
  return list.back().token;
}

int greedy(const double* logits, int vocab) {
  return static_cast<int>(std::max_element(logits, logits + vocab) - logits);
}

}  // namespace tw::test
