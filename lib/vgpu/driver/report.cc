#include "lib/vgpu/driver/report.h"

#include <unistd.h>

#include <cstdio>

namespace tw::vgpu {
namespace {

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    char code[8];
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
      result += code;
    } else {
      result += c;
    }
  }
  return result + "\"";
}

}  // namespace

const char* name_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::kIllegalAddress:
      return "illegal_address";
    case FaultKind::kMisalignedAddress:
      return "misaligned_address";
    case FaultKind::kIllegalInstruction:
      return "illegal_instruction";
    case FaultKind::kTrap:
      return "trap";
    case FaultKind::kDeadlock:
      return "deadlock";
    case FaultKind::kBadLaunch:
      return "bad_launch";
  }
  return "unknown";
}

void report(const Settings& settings, const std::string& kind, const std::string& text) {
  std::fprintf(stderr, "tw_vgpu: %s: %s\n  seed %ld, scheduler %s\n", kind.c_str(), text.c_str(),
               settings.seed, settings.scheduler.c_str());
  if (!settings.report.empty()) {
    if (std::FILE* file = std::fopen(settings.report.c_str(), "a")) {
      std::fprintf(file, "{\"kind\": %s, \"text\": %s, \"seed\": %ld, \"scheduler\": %s}\n",
                   quoted(kind).c_str(), quoted(text).c_str(), settings.seed,
                   quoted(settings.scheduler).c_str());
      std::fclose(file);
    } else {
      std::fprintf(stderr, "tw_vgpu: TW_VGPU_REPORT=%s cannot be opened\n",
                   settings.report.c_str());
    }
  }
  if (settings.on_report == "exit") ::_exit(kReportStatus);
}

}  // namespace tw::vgpu
