#include "lib/vgpu/driver/settings.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <stdexcept>

#include "lib/vgpu/sim/memory.h"
#include "lib/vgpu/sim/scheduler.h"

namespace tw::vgpu {
namespace {

[[noreturn]] void refuse(const char* name, const std::string& value, const std::string& valid) {
  throw std::invalid_argument(std::string(name) + "='" + value + "': valid are " + valid);
}

long number(const char* name, const std::string& value) {
  errno = 0;
  char* end = nullptr;
  const long result = std::strtol(value.c_str(), &end, 10);
  if (errno != 0 || end == value.c_str() || *end != '\0') refuse(name, value, "whole numbers");
  return result;
}

void read(const char* name, int* to) {
  if (const char* value = std::getenv(name)) {
    const long read = number(name, value);
    if (read < INT_MIN || read > INT_MAX) refuse(name, value, "numbers of 32 bits");
    *to = static_cast<int>(read);
  }
}
void read(const char* name, long* to) {
  if (const char* value = std::getenv(name)) *to = number(name, value);
}
void read(const char* name, std::string* to) {
  if (const char* value = std::getenv(name)) *to = value;
}

void check_range(const char* name, int value, int low, int high) {
  if (value < low || value > high)
    refuse(name, std::to_string(value), std::to_string(low) + " to " + std::to_string(high));
}

}  // namespace

Settings read_settings() {
  Settings settings;
#define TW_VGPU_SETTING(variable, member, type, otherwise, help) read(variable, &settings.member);
#include "lib/vgpu/driver/settings.def"
#undef TW_VGPU_SETTING
  check_range("TW_VGPU", settings.gpus, 1, kMaxGpus);
  check_range("TW_VGPU_SMS", settings.sms, 1, 1024);
  check_range("TW_VGPU_HANG", settings.hang_seconds, 1, 86400);
  if (settings.capability != 80 && settings.capability != 90)
    refuse("TW_VGPU_CAPABILITY", std::to_string(settings.capability), "80 and 90");
  if (settings.engines != "random" && settings.engines != "late")
    refuse("TW_VGPU_ENGINES", settings.engines, "random and late");
  if (settings.statistics != "on" && settings.statistics != "off")
    refuse("TW_VGPU_STATISTICS", settings.statistics, "on and off");
  if (settings.races != "on" && settings.races != "off")
    refuse("TW_VGPU_RACES", settings.races, "on and off");
  if (settings.on_report != "exit" && settings.on_report != "continue")
    refuse("TW_VGPU_ON_REPORT", settings.on_report, "exit and continue");
  try {
    make_scheduler(settings.scheduler, 1);
  } catch (const std::invalid_argument&) {
    refuse("TW_VGPU_SCHEDULER", settings.scheduler, kSchedulerNames);
  }
  return settings;
}

}  // namespace tw::vgpu
