// tw_info [section...]: what this library is, what machine it sees, and how it is configured.
#include <cstdio>
#include <cstring>
#include <vector>

#include "tilewire.h"

namespace {

struct Section {
  const char* name;
  tw_describe_what_t what;
  const char* title;
};

constexpr Section kSections[] = {
    {"version", TW_DESCRIBE_VERSION, "Version"},
    {"targets", TW_DESCRIBE_TARGETS, "Instruction sets"},
    {"topology", TW_DESCRIBE_TOPOLOGY, "Topology"},
    {"libraries", TW_DESCRIBE_LIBRARIES, "Libraries opened when present"},
    {"environment", TW_DESCRIBE_ENVIRONMENT, "Environment (name, value, help)"},
    {"choices", TW_DESCRIBE_CHOICES, "Choice table of the collectives"},
};

void usage(std::FILE* to) {
  std::fputs("usage: tw_info [section...]\nsections, all when none is given:", to);
  for (const Section& section : kSections) std::fprintf(to, " %s", section.name);
  std::fputc('\n', to);
}

const Section* find(const char* name) {
  for (const Section& section : kSections)
    if (std::strcmp(section.name, name) == 0) return &section;
  return nullptr;
}

bool print(const Section& section, bool first) {
  size_t needed = 0;
  tw_status_t status = tw_describe(section.what, nullptr, 0, &needed);
  std::vector<char> text(needed);
  if (status == TW_OK) status = tw_describe(section.what, text.data(), text.size(), &needed);
  std::printf("%s%s\n", first ? "" : "\n", section.title);
  if (status != TW_OK) {
    std::fprintf(stderr, "tw_info: %s: %s: %s\n", section.name, tw_status_name(status),
                 tw_last_error());
    return false;
  }
  // Indented by two.
  for (char* line = std::strtok(text.data(), "\n"); line != nullptr;
       line = std::strtok(nullptr, "\n"))
    std::printf("  %s\n", line);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<const Section*> wanted;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0 || std::strcmp(argv[i], "-h") == 0) {
      usage(stdout);
      return 0;
    }
    const Section* const section = find(argv[i]);
    if (section == nullptr) {
      std::fprintf(stderr, "tw_info: there is no section \"%s\"\n", argv[i]);
      usage(stderr);
      return 2;
    }
    wanted.push_back(section);
  }
  if (wanted.empty())
    for (const Section& section : kSections) wanted.push_back(&section);
  bool good = true;
  for (size_t i = 0; i < wanted.size(); ++i) good = print(*wanted[i], i == 0) && good;
  return good ? 0 : 1;
}
