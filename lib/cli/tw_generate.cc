// Writes text with a model: see --help.
#include <memory>

#include "lib/cli/model/interrupt.h"
#include "lib/cli/model/open.h"
#include "lib/cli/model/ranks.h"
#include "lib/cli/tw_generate/generator.h"
#include "lib/cli/tw_generate/options.h"
#include "lib/cli/tw_generate/synthetic.h"
#include "lib/cli/tw_generate/talk.h"

namespace tw::cli {
namespace {

constexpr const char* kName = "tw_generate";

void run_rank(tw_comm_t comm, cpp::Model& model, const GenerateOptions& options, Talk* talk) {
  int rank = 0;
  cpp::check(tw_comm_rank(comm, &rank));
  model = options.synthetic.empty()
              ? load(comm, options.model)
              : make_synthetic(comm, *find_shape(options.synthetic, options.layers));
  Interrupt::listen();
  Generator generator(comm, model.get(), options, rank == 0 ? talk : nullptr);
  if (!options.trace.empty()) cpp::check(tw_model_set_tracing(model.get(), 1));
  generator.run();
  if (!options.trace.empty()) {
    cpp::check(tw_model_write_trace(model.get(), options.trace.c_str()));
    cpp::check(tw_model_set_tracing(model.get(), 0));
  }
  if (options.compare) generator.compare();
  if (options.stats && rank == 0) generator.report();
}

int run(int argc, const char* const* argv) {
  try {
    const bool first = find_place().rank == 0;
    GenerateOptions options;
    if (const int status = parse_generate(argc, argv, !first, &options); status >= 0) return status;
    // What is wrong with file or prompt is found before the ranks meet.
    const std::unique_ptr<Talk> talk = first ? make_talk(options) : nullptr;
    tw_comm_config_t config = TW_COMM_CONFIG_INIT;
    config.name = kName;
    if (options.chat) config.timeout_ms = 0;  // the others wait while the user thinks
    return run_ranks(kName, options.ranks, config, [&](tw_comm_t comm, cpp::Model& model) {
      run_rank(comm, model, options, talk.get());
    });
  } catch (const std::exception& failure) {
    say(kName, failure.what());
    return 1;
  }
}

}  // namespace
}  // namespace tw::cli

int main(int argc, char** argv) { return tw::cli::run(argc, argv); }
