// write_llama_models FOLDER: the models of llama_cases() as NAME.txt (a manifest: a key and values
// a line) and NAME.weights (fp32, in the manifest's order), for make_llama_fixtures.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>

#include "tests/support/llama_cases.h"

namespace tw::test {
namespace {

void write_config(std::ofstream& to, const LlamaConfig& c) {
  constexpr const char* kFamilies[] = {"llama", "qwen2", "qwen3", "mistral"};
  constexpr const char* kScalings[] = {"none", "linear", "llama3"};
  to << "family " << kFamilies[static_cast<int>(c.family)] << "\nlayers " << c.layers << "\nhidden "
     << c.hidden << "\nheads " << c.heads << "\nkv_heads " << c.kv_heads << "\nhead_size "
     << c.head_size << "\nffn " << c.ffn << "\nvocab " << c.vocab << "\nrms_eps " << c.rms_eps
     << "\nrope_theta " << c.rope_theta << "\nrope " << kScalings[c.rope.kind] << "\nrope_factor "
     << c.rope.factor << "\nrope_low " << c.rope.low_freq_factor << "\nrope_high "
     << c.rope.high_freq_factor << "\nrope_original_context " << c.rope.original_context
     << "\nwindow " << c.window << "\nqk_norm " << c.qk_norm << '\n';
}

bool write_case(const std::filesystem::path& folder, const LlamaCase& c) {
  const ReferenceModel model = random_model(c.config, c.seed);
  std::ofstream manifest(folder / (std::string(c.name) + ".txt"));
  std::ofstream weights(folder / (std::string(c.name) + ".weights"), std::ios::binary);
  manifest.precision(std::numeric_limits<double>::max_digits10);
  write_config(manifest, c.config);
  manifest << "tokens";
  for (const int token : random_tokens(c.config, c.tokens, c.seed)) manifest << ' ' << token;
  manifest << '\n';
  for (const auto& [name, weight] : model.weights) {
    manifest << "weight " << name << ' ' << weight.rows << ' ' << weight.cols << '\n';
    weights.write(reinterpret_cast<const char*>(weight.values.data()),
                  static_cast<std::streamsize>(weight.values.size() * sizeof(float)));
  }
  return manifest.flush() && weights.flush();
}

}  // namespace
}  // namespace tw::test

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: write_llama_models FOLDER\n", stderr);
    return 2;
  }
  std::filesystem::create_directories(argv[1]);
  for (const tw::test::LlamaCase& c : tw::test::llama_cases()) {
    if (tw::test::write_case(argv[1], c)) continue;
    std::fprintf(stderr, "write_llama_models: %s cannot be written in %s\n", c.name, argv[1]);
    return 1;
  }
  return 0;
}
