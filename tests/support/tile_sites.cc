#include "tests/support/tile_sites.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

namespace tw::test {
namespace {

constexpr const char* kTileCall = "include/tilewire/tile/tile_call.h";
constexpr const char* kTileBlock = "include/tilewire/tile/tile_block.h";
constexpr const char* kProgram = "include/tilewire/tile/program.h";

std::string contents(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The first group of every match.
std::set<std::string> all_matches(const std::string& text, const char* pattern) {
  const std::regex regex(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator i(text.begin(), text.end(), regex), end; i != end; ++i)
    found.insert((*i)[1]);
  return found;
}

std::string one_of(const std::set<std::string>& words) {
  std::string pattern;
  for (const std::string& word : words) pattern += (pattern.empty() ? "" : "|") + word;
  return "(" + pattern + ")";
}

/// The lines, comments left out, in which `pattern` is found; its first group is the op, or `op`.
void add(std::vector<TileSite>* sites, const std::string& file, const std::string& pattern,
         const char* op = nullptr) {
  const std::regex regex(pattern);
  std::istringstream text(contents(file));
  std::string line;
  for (int number = 1; std::getline(text, line); ++number) {
    std::smatch match;
    line.resize(std::min(line.size(), line.find("//")));
    if (std::regex_search(line, match, regex))
      sites->push_back({file, number, op != nullptr ? op : match[1].str()});
  }
}

}  // namespace

std::vector<TileSite> tile_sites() {
  std::set<std::string> ops =
      all_matches(contents(kTileCall), R"((\w+)\([^()]*\bAt at = At::here\(\))");
  ops.merge(all_matches(contents(kTileBlock), R"((\w+)\(At at\b)"));
  std::vector<TileSite> sites;
  add(&sites, kTileCall, R"((\w+)\(At::here\(\))");
  for (const auto& entry : std::filesystem::recursive_directory_iterator("kernels")) {
    const std::string file = entry.path().string();
    if (!entry.is_regular_file()) continue;
    const std::string text = contents(file);
    if (text.find("\"tilewire/tile/tile_") == std::string::npos) continue;
    add(&sites, file, R"((?:\.|->))" + one_of(ops) + R"(\()");
    const std::set<std::string> calls = all_matches(text, R"(\bTileCall<Block>\s+(\w+))");
    if (!calls.empty()) add(&sites, file, R"(\b)" + one_of(calls) + R"(\()", "TileCall");
  }
  return sites;
}

std::vector<TileSite> program_sites() {
  const std::set<std::string> ops =
      all_matches(contents(kProgram), R"((\w+)\([^()]*\bAt at = At::here\(\))");
  const std::string use = R"(\bprogram\.)" + one_of(ops) + R"(\()";
  std::vector<TileSite> sites;
  add(&sites, kTileCall, R"((announce)\(At::here\(\))");
  add(&sites, kProgram, R"(\bcall_\((?!\)))", "TileCall");
  add(&sites, kProgram, R"(\bcall_\.(close)\()");
  for (const char* folder : {"include/tilewire/tile", "kernels"})
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      const std::string file = entry.path().string();
      if (entry.is_regular_file() &&
          contents(file).find("ProgramBlock<Block>") != std::string::npos)
        add(&sites, file, use);
    }
  return sites;
}

std::string source_line(const std::string& file, int line) {
  std::ifstream text(file);
  std::string found;
  for (int i = 0; i < line; ++i) std::getline(text, found);
  const size_t begin = found.find_first_not_of(' ');
  return begin == std::string::npos ? "" : found.substr(begin);
}

std::string enclosing_struct(const std::string& file, int line) {
  std::ifstream text(file);
  std::string found, name;
  const std::regex regex(R"(^struct (\w+))");
  for (int i = 0; i < line && std::getline(text, found); ++i)
    if (std::smatch match; std::regex_search(found, match, regex)) name = match[1];
  return name;
}

}  // namespace tw::test
