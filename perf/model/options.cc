#include "perf/model/options.h"

#include <CLI/CLI.hpp>
#include <stdexcept>

#include "lib/cli/tw_generate/synthetic.h"

namespace tw::perf {

namespace {

constexpr const char* kTiny = "tiny";
constexpr uint32_t kPromptRows = 128;  // from so many rows on a layer computes a prompt
constexpr int64_t kLayerVocab = 16;    // of a layer alone, which has no use for one

// For tests: uneven over two ranks.
tw_model_desc_t tiny_shape() {
  tw_model_desc_t desc = TW_MODEL_DESC_INIT;
  desc.layers = 2;
  desc.hidden = 96;
  desc.heads = 6;
  desc.kv_heads = 3;
  desc.head_size = 16;
  desc.ffn = 160;
  desc.vocab = 200;
  desc.context = 4096;
  return desc;
}

using Numbers = std::vector<uint32_t>;

struct CommandLine {
  CLI::App app;
  ModelOptions options;

  CommandLine(const char* what, const char* shape) : app(what) {
    options.shape = shape;
    app.add_option("--shape", options.shape,
                   std::string("random weights of a shape: ") + kTiny + ", " + cli::shape_names())
        ->capture_default_str();
    app.add_option("--rounds", options.rounds, "the time is their median")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    app.add_option("--bind", options.bind, "ranks stay on a core each when there are enough")
        ->capture_default_str();
    app.add_option("--serve", options.serve, "take cases from pipes in this folder (perf/tools)");
  }

  void add(const char* name, Numbers* numbers, uint32_t least, const char* help) {
    app.add_option(name, *numbers, help)
        ->delimiter(',')
        ->check(CLI::Range(least, 1u << 16))
        ->capture_default_str();
  }

  ModelOptions parse(int argc, const char* const* argv) {
    try {
      app.parse(argc, argv);
      if (options.file.empty()) shape_of(options);
    } catch (const CLI::ParseError& error) {
      std::exit(app.exit(error) ? 2 : 0);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
      std::exit(2);
    }
    return options;
  }
};

}  // namespace

ModelOptions parse_model_options(int argc, const char* const* argv) {
  CommandLine line("Prefill and decode of a model, in one launch a step and op by op", kTiny);
  Numbers prefill{128, 512}, batches{1, 8, 32}, contexts{64, 2048}, tokens{32};
  line.app.add_option("-m,--model", line.options.file, "model file or folder");
  line.add("--prefill", &prefill, 1, "tokens of a prompt");
  line.add("--batch", &batches, 1, "sequences that decode together");
  line.add("--context", &contexts, 0, "tokens before those that are decoded");
  line.add("--tokens", &tokens, 1, "that each sequence decodes");
  ModelOptions options = line.parse(argc, argv);
  for (const uint32_t n : prefill) options.cases.push_back({false, n, 1, 0});
  for (const uint32_t context : contexts)
    for (const uint32_t batch : batches) options.cases.push_back({true, tokens[0], batch, context});
  return options;
}

ModelOptions parse_layer_options(int argc, const char* const* argv) {
  CommandLine line("A layer alone, rows in and rows out, in one launch and op by op", "llama-70b");
  Numbers rows{1, 8, 64, 512}, context{128};
  line.add("-m,--rows", &rows, 1,
           "below 128: sequences that decode a token each; else tokens of a prompt");
  line.add("--context", &context, 0, "tokens before those that are decoded");
  ModelOptions options = line.parse(argc, argv);
  options.rows = true;
  for (const uint32_t m : rows)
    options.cases.push_back(m < kPromptRows ? ModelCase{true, 1, m, context[0]}
                                            : ModelCase{false, m, 1, 0});
  return options;
}

tw_model_desc_t shape_of(const ModelOptions& options) {
  if (options.shape == kTiny) {
    tw_model_desc_t desc = tiny_shape();
    if (options.rows) desc.layers = 1;
    return desc;
  }
  const auto desc = cli::find_shape(options.shape, options.rows ? 1 : 0);
  if (!desc)
    throw std::runtime_error("--shape: " + options.shape + " is unknown; valid: " + kTiny + ", " +
                             cli::shape_names());
  tw_model_desc_t layer = *desc;
  if (options.rows) layer.vocab = kLayerVocab;
  return layer;
}

}  // namespace tw::perf
