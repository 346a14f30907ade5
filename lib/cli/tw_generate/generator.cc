#include "lib/cli/tw_generate/generator.h"

#include <algorithm>
#include <cstdio>

#include "lib/cli/model/interrupt.h"
#include "tilewire/cpp.h"

namespace tw::cli {
namespace {

constexpr uint32_t kStepRows = 512;  // of a prompt's step
constexpr size_t kCompared = 32;     // tokens

size_t common_size(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t most = std::min(a.size(), b.size());
  size_t size = 0;
  while (size < most && a[size] == b[size]) ++size;
  return size;
}

/// "1", "212", "1.50".
std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text,
                value == static_cast<double>(static_cast<uint64_t>(value)) ? "%.0f" : "%.2f",
                value);
  return text;
}

}  // namespace

Generator::Generator(tw_comm_t comm, tw_model_t model, const GenerateOptions& options, Talk* talk)
    : comm_(comm),
      model_(model),
      options_(options),
      talk_(talk),
      sampling_{options.temperature, options.top_k, options.top_p, -1, options.seed},
      limits_(agreed_limits()),
      sequence_(limits_) {
  cpp::check(tw_model_prepare(model_, &limits_));
  cpp::check(tw_model_kv_create(model_, limits_.page_size, limits_.pages));
}

tw_model_limits_t Generator::agreed_limits() const {
  int32_t context = talk_ != nullptr ? static_cast<int32_t>(talk_->context()) : 0;
  broadcast(&context, 1);
  return limits_for(static_cast<uint32_t>(context), kStepRows, 1);
}

void Generator::broadcast(int32_t* values, size_t count) const {
  cpp::check(tw_broadcast(values, values, count, TW_INT32, 0, comm_, nullptr));
}

/// Rank 0's word, at all ranks.
bool Generator::agree(bool mine) const {
  int32_t word = mine ? 1 : 0;
  broadcast(&word, 1);
  return word != 0;
}

/// False when there is none. The first `*kept` tokens have been computed already.
bool Generator::take_prompt(std::vector<int32_t>* prompt, size_t* kept) {
  int32_t sizes[2] = {0, 0};
  if (talk_ != nullptr && !Interrupt::wanted()) {
    if (auto next = talk_->next()) {
      *prompt = std::move(*next);
      sizes[0] = static_cast<int32_t>(prompt->size());
      // The last token is computed in any case: the next one is drawn from its row.
      sizes[1] = static_cast<int32_t>(
          std::min(common_size(*prompt, sequence_.tokens()), prompt->size() - 1));
    }
  }
  broadcast(sizes, 2);
  if (sizes[0] == 0) return false;
  prompt->resize(static_cast<size_t>(sizes[0]));
  broadcast(prompt->data(), prompt->size());
  *kept = static_cast<size_t>(sizes[1]);
  return true;
}

/// Runs `step` and returns the token that it drew, if any.
int32_t Generator::time_step(tw_step_t step, bool by_ops, Work* work) const {
  int32_t drawn = -1;
  if (step.logit_rows != 0) {
    step.sampling = &sampling_;
    step.sampled = &drawn;
  }
  uint64_t before = 0, after = 0;
  cpp::check(tw_model_launches(model_, &before));
  const auto start = Clock::now();
  cpp::check(by_ops ? tw_model_step_by_ops(model_, &step) : tw_model_step(model_, &step, nullptr));
  work->seconds += std::chrono::duration<double>(Clock::now() - start).count();
  cpp::check(tw_model_launches(model_, &after));
  work->launches += after - before;
  work->tokens += step.rows;
  work->steps += 1;
  return drawn;
}

int32_t Generator::run_step(std::span<const int32_t> tokens, bool draw, Work* work) {
  return time_step(sequence_.append(tokens, draw ? 1 : 0), false, work);
}

/// False when Ctrl-C ended it.
bool Generator::generate(const std::vector<int32_t>& prompt, size_t kept) {
  sequence_.cut(kept);
  int32_t token = -1;
  for (std::span<const int32_t> rest(prompt.begin() + static_cast<ptrdiff_t>(kept), prompt.end());
       !rest.empty();) {
    const size_t rows = std::min<size_t>(rest.size(), limits_.rows);
    token = run_step(rest.first(rows), rows == rest.size(), &prompt_);
    rest = rest.subspan(rows);
    if (!rest.empty() && !agree(!Interrupt::wanted())) return false;
  }
  bool interrupted = false;
  for (int made = 1;; ++made) {
    // Rank 0 shows the token and decides whether there is another; all ranks then do the same.
    int32_t word[2] = {0, token};
    if (talk_ != nullptr) {
      interrupted = Interrupt::wanted();
      word[0] = static_cast<int32_t>(talk_->put(token) && made < options_.n && !interrupted &&
                                     sequence_.size() < limits_.context);
    }
    broadcast(word, 2);
    if (word[0] == 0) break;
    token = run_step(std::span<const int32_t>(&word[1], 1), true, &made_);
  }
  if (talk_ != nullptr) talk_->finish();
  return agree(!interrupted);
}

void Generator::run() {
  std::vector<int32_t> prompt;
  size_t kept = 0;
  while (take_prompt(&prompt, &kept) && generate(prompt, kept)) {
  }
}

void Generator::compare() {
  if (!agree(!Interrupt::wanted())) return;
  const std::vector<int32_t> tokens(sequence_.tokens().begin(), sequence_.tokens().end());
  const size_t begin = tokens.size() - std::min(tokens.size(), kCompared);
  sequence_.cut(begin);
  for (size_t i = begin; i < tokens.size(); ++i) {
    const tw_step_t step = sequence_.append(std::span<const int32_t>(&tokens[i], 1), 1);
    // Both write the same keys and values; who comes first takes turns.
    int32_t drawn[2];
    for (const int turn : {0, 1}) {
      const bool by_ops = (i + static_cast<size_t>(turn)) % 2 != 0;
      drawn[turn] = time_step(step, by_ops, by_ops ? &by_ops_ : &one_launch_);
    }
    ++compared_;
    different_ += drawn[0] != drawn[1] ? 1 : 0;
    if (!agree(!Interrupt::wanted())) break;
  }
}

void Generator::report() const {
  std::fprintf(stderr, "prompt: %zu tokens, %.1f tokens/s\n", prompt_.tokens, prompt_.rate());
  std::fprintf(stderr, "generation: %zu tokens, %.1f tokens/s\n", made_.tokens, made_.rate());
  Work all = prompt_;
  all.steps += made_.steps;
  all.launches += made_.launches;
  std::fprintf(stderr, "launches per step: %s\n", number(all.launches_per_step()).c_str());
  if (compared_ == 0) return;
  std::fprintf(stderr, "the last %zu tokens again, in turns: %.1f tokens/s\n", compared_,
               one_launch_.rate());
  std::fprintf(stderr, "op by op: %.1f tokens/s, launches per step: %s, %zu other tokens\n",
               by_ops_.rate(), number(by_ops_.launches_per_step()).c_str(), different_);
  std::fprintf(stderr, "one launch / op by op: %.2f\n",
               by_ops_.rate() > 0 ? one_launch_.rate() / by_ops_.rate() : 0);
}

}  // namespace tw::cli
