// How well a model predicts a text, by llama-perplexity's method: see --help.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "lib/cli/model/open.h"
#include "lib/cli/model/ranks.h"
#include "lib/cli/model/sequence.h"
#include "lib/cli/tw_perplexity/windows.h"
#include "lib/text/tokenizer.h"

namespace tw::cli {
namespace {

constexpr const char* kName = "tw_perplexity";
constexpr uint32_t kStepRows = 256;

struct Options {
  std::string model;
  std::string file;
  int ctx = 512;
  int windows = 0;  // 0: all
  int ranks = 0;
};

/// -1: go on; else the status to end with.
int parse(int argc, const char* const* argv, bool quiet, Options* o) {
  CLI::App app(
      "Perplexity of a text by llama-perplexity's method: windows of --ctx tokens without "
      "overlap,\n"
      "the first token replaced by the beginning-of-text token where the vocabulary has one, and\n"
      "the tokens of each window's second half scored. The last line is `perplexity N.NNNN`. "
      "Under\n"
      "tw_run -n N, under mpirun, or in threads of this process with --ranks N.",
      kName);
  app.add_option("-m,--model", o->model, "model file or folder")->required();
  app.add_option("-f,--file", o->file, "text file, - is standard input")->required();
  app.add_option("--ctx", o->ctx, "tokens of a window (512)")->check(CLI::Range(4, 1 << 20));
  app.add_option("--windows", o->windows, "only so many, 0: all")->check(CLI::Range(0, 1 << 30));
  app.add_option("--ranks", o->ranks, "ranks as threads of this process")
      ->check(CLI::Range(1, TW_MAX_FUSED_RANKS));
  std::string wrong;
  try {
    app.parse(argc, argv);
    if (o->ranks > 0 && find_place().by != Place::By::kAlone)
      wrong = "--ranks " + std::to_string(o->ranks) +
              " makes threads; under tw_run or mpirun the processes are the ranks";
  } catch (const CLI::Success& help) {
    return quiet ? 0 : app.exit(help);
  } catch (const std::exception& error) {
    wrong = error.what();
  }
  if (wrong.empty()) return -1;
  if (quiet) return 0;  // rank 0 says it, and fails
  say(kName, wrong + " (see tw_perplexity --help)");
  return 1;
}

Windows read_windows(const Options& options) {
  FileText file = read_text_of(options.model);
  if (options.ctx > file.context)
    throw std::runtime_error("--ctx " + std::to_string(options.ctx) + ": the model's context is " +
                             std::to_string(file.context));
  const Tokenizer tokenizer(std::move(file.vocabulary));
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  std::vector<int32_t> tokens =
      tokenizer.encode(read_file(options.file), false, vocabulary.add_bos);
  const auto ctx = static_cast<size_t>(options.ctx);
  if (tokens.size() < ctx)
    throw std::runtime_error(options.file + " has " + std::to_string(tokens.size()) +
                             " tokens; valid: at least a window of " + std::to_string(ctx) +
                             " (--ctx)");
  return {std::move(tokens), ctx, vocabulary.add_bos ? static_cast<int32_t>(vocabulary.bos) : -1};
}

/// Scores windows, alike on all ranks; logits come to rank 0.
class Scorer {
 public:
  Scorer(tw_comm_t comm, tw_model_t model, const Options& options)
      : comm_(comm),
        model_(model),
        ctx_(static_cast<size_t>(options.ctx)),
        limits_(limits_for(static_cast<uint32_t>(options.ctx), kStepRows, kStepRows)),
        sequence_(limits_) {
    cpp::check(tw_model_prepare(model, &limits_));
    cpp::check(tw_model_kv_create(model, limits_.page_size, limits_.pages));
    tw_model_desc_t desc = TW_MODEL_DESC_INIT;
    cpp::check(tw_model_get_desc(model, &desc));
    vocab_ = static_cast<size_t>(desc.vocab);
  }

  /// `windows`: at rank 0, else null.
  void run(const Windows* windows, size_t most) {
    auto count = static_cast<int32_t>(windows != nullptr ? windows->count() : 0);
    if (most > 0) count = std::min(count, static_cast<int32_t>(most));
    broadcast(&count, 1);
    if (windows != nullptr) logits_.resize(size_t{limits_.logit_rows} * vocab_);
    for (int32_t i = 0; i < count; ++i) {
      std::vector<int32_t> window(ctx_);
      if (windows != nullptr) window = windows->window(static_cast<size_t>(i));
      broadcast(window.data(), window.size());
      score(window);
      if (windows == nullptr) continue;
      std::printf("[%d/%d] %.4f\n", i + 1, count, result_.value());
      std::fflush(stdout);
    }
    if (windows != nullptr) std::printf("perplexity %.4f\n", result_.value());
  }

 private:
  void broadcast(int32_t* values, size_t count) const {
    cpp::check(tw_broadcast(values, values, count, TW_INT32, 0, comm_, nullptr));
  }

  void score(const std::vector<int32_t>& window) {
    sequence_.cut(0);
    for (size_t begin = 0; begin < ctx_; begin += limits_.rows) {
      const size_t end = std::min<size_t>(ctx_, begin + limits_.rows);
      const size_t first = std::max(begin, first_scored(ctx_));
      const size_t wanted = first < end ? end - first : 0;
      tw_step_t step =
          sequence_.append(std::span<const int32_t>(window).subspan(begin, end - begin),
                           static_cast<uint32_t>(wanted));
      if (wanted > 0) {
        step.logits_to = TW_LOGITS_TO_ONE;
        step.logits = logits_.data();
      }
      cpp::check(tw_model_step(model_, &step, nullptr));
      if (!logits_.empty()) add_rows(window, first, std::min(end, ctx_ - 1));
    }
  }

  /// Rows first to end - 1, whose logits begin at the first.
  void add_rows(const std::vector<int32_t>& window, size_t first, size_t end) {
    for (size_t row = first; row < end; ++row)
      result_.add(surprise(std::span<const float>(logits_).subspan((row - first) * vocab_, vocab_),
                           window[row + 1]));
  }

  tw_comm_t comm_;
  tw_model_t model_;
  const size_t ctx_;
  const tw_model_limits_t limits_;
  Sequence sequence_;
  size_t vocab_ = 0;
  std::vector<float> logits_;
  Perplexity result_;
};

int run(int argc, const char* const* argv) {
  try {
    const bool first = find_place().rank == 0;
    Options options;
    if (const int status = parse(argc, argv, !first, &options); status >= 0) return status;
    // What is wrong with the files is found before the ranks meet.
    std::optional<Windows> windows;
    if (first) windows = read_windows(options);
    tw_comm_config_t config = TW_COMM_CONFIG_INIT;
    config.name = kName;
    return run_ranks(kName, options.ranks, config, [&](tw_comm_t comm, cpp::Model& model) {
      int rank = 0;
      cpp::check(tw_comm_rank(comm, &rank));
      model = load(comm, options.model);
      Scorer(comm, model.get(), options)
          .run(rank == 0 ? &*windows : nullptr, static_cast<size_t>(options.windows));
    });
  } catch (const std::exception& failure) {
    say(kName, failure.what());
    return 1;
  }
}

}  // namespace
}  // namespace tw::cli

int main(int argc, char** argv) { return tw::cli::run(argc, argv); }
