#include "lib/cli/tw_generate/options.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>

#include "lib/cli/model/ranks.h"
#include "lib/cli/tw_generate/synthetic.h"

namespace tw::cli {
namespace {

constexpr const char* kHelp =
    "Writes text with a Llama-like model (GGUF or safetensors) over several ranks: under tw_run -n "
    "N,\n"
    "under mpirun, or in threads of this process with --ranks N. Ctrl-C ends after the step that\n"
    "runs; the text so far stays.";

/// As CLI::Range, for which NaN is in every range.
CLI::Validator number_in(double least, double most) {
  const CLI::Range range(least, most);
  return {[range](std::string& text) {
            const std::string wrong = range(text);
            return wrong.empty() && !(std::strtod(text.c_str(), nullptr) >= 0)
                       ? text + " is no number"
                       : wrong;
          },
          range.get_description()};
}

/// A file that can be made: what is written at the end has a place.
CLI::Validator new_file() {
  return {[](std::string& path) {
            if (std::filesystem::is_directory(path)) return path + " is a folder";
            const std::filesystem::path folder = std::filesystem::path(path).parent_path();
            const bool there = folder.empty() || std::filesystem::is_directory(folder);
            return there ? std::string() : "there is no folder " + folder.string();
          },
          "FILE"};
}

void add_options(CLI::App* app, GenerateOptions* o) {
  app->add_option("-m,--model", o->model, "model file or folder");
  app->add_option("-p,--prompt", o->prompt, "text to go on from");
  app->add_option("-f,--file", o->file, "the same from a file, - is standard input");
  app->add_flag(
      "--chat", o->chat,
      "as a turn of a conversation; without -p and -f: turns are lines of standard input");
  app->add_option("-n", o->n, "tokens to write, at most (128)")->check(CLI::Range(1, 1 << 30));
  app->add_option("--ctx", o->context, "longest text in tokens; 0: prompt and -n, or 4096 to chat")
      ->check(CLI::Range(0, 1 << 30));
  app->add_option("--temp", o->temperature, "temperature, 0: the most probable (0.8)")
      ->check(number_in(0, 100));
  app->add_option("--top-k", o->top_k, "draw from so many tokens, 0: from all (40)")
      ->check(CLI::Range(0, 1 << 30));
  app->add_option("--top-p", o->top_p, "draw from tokens of so much probability (0.95)")
      ->check(number_in(1e-6, 1));
  app->add_option("--seed", o->seed, "another seed, another text (0)");
  app->add_flag("--stats", o->stats, "tell tokens a second and launches a step, on standard error");
  app->add_flag("--compare", o->compare, "with --stats: also with a launch for every op");
  app->add_option("--trace", o->trace,
                  "file for the last step's timeline: JSON for Perfetto or perf/tools/timeline")
      ->check(new_file());
  app->add_option("--ranks", o->ranks, "ranks as threads of this process")
      ->check(CLI::Range(1, TW_MAX_FUSED_RANKS));
  app->add_option("--synthetic", o->synthetic,
                  "no file: random weights of a shape: " + shape_names());
  app->add_option("--layers", o->layers, "with --synthetic: so many layers only")
      ->check(CLI::Range(1, 4096));
  app->add_option("--prompt-tokens", o->prompt_tokens, "with --synthetic: a prompt of so many (16)")
      ->check(CLI::Range(1, 1 << 30));
}

/// "", or what is wrong with the options together.
std::string conflict(const CLI::App& app, const GenerateOptions& o) {
  const bool synthetic = !o.synthetic.empty();
  if (o.model.empty() == !synthetic) return "give either -m FILE or --synthetic SHAPE";
  if (synthetic && (o.has_prompt || !o.file.empty() || o.chat))
    return "--synthetic has no text: -p, -f and --chat go with -m FILE";
  if (synthetic && !find_shape(o.synthetic, 0))
    return "--synthetic: " + o.synthetic + " is unknown; valid: " + shape_names();
  if (!synthetic && (app.count("--layers") > 0 || app.count("--prompt-tokens") > 0))
    return "--layers and --prompt-tokens go with --synthetic";
  if (o.has_prompt && !o.file.empty()) return "give either -p TEXT or -f FILE";
  if (!synthetic && !o.has_prompt && o.file.empty() && !o.chat)
    return "give -p TEXT, -f FILE or --chat";
  if (o.compare && !o.stats) return "--compare goes with --stats";
  if (o.ranks > 0 && find_place().by != Place::By::kAlone)
    return "--ranks " + std::to_string(o.ranks) +
           " makes threads; under tw_run or mpirun the processes are the ranks";
  return "";
}

}  // namespace

int parse_generate(int argc, const char* const* argv, bool quiet, GenerateOptions* options) {
  CLI::App app(kHelp, "tw_generate");
  add_options(&app, options);
  std::string wrong;
  try {
    app.parse(argc, argv);
    options->has_prompt = app.count("-p") > 0;
    wrong = conflict(app, *options);
  } catch (const CLI::Success& help) {
    return quiet ? 0 : app.exit(help);
  } catch (const std::exception& error) {
    wrong = error.what();
  }
  if (wrong.empty()) return -1;
  if (quiet) return 0;
  say("tw_generate", wrong + " (see tw_generate --help)");
  return 1;
}

}  // namespace tw::cli
