#include "lib/cli/model/meeting.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <stdexcept>
#include <thread>

#include "tilewire/cpp.h"

namespace tw::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr seconds kPatience(600);  // as long as ranks may take to arrive
constexpr milliseconds kPause(10);

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

/// When process `pid` was started, in the kernel's ticks since boot: the 22nd word of its stat. The
/// second is a name in parentheses that may hold anything.
std::string start_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  const std::string stat((std::istreambuf_iterator<char>(file)), {});
  size_t at = stat.rfind(')');
  for (int word = 2; word < 22 && at != std::string::npos; ++word) at = stat.find(' ', at + 1);
  if (at == std::string::npos) return "";
  return stat.substr(at + 1, stat.find(' ', at + 1) - at - 1);
}

std::string file_of(const std::string& job) {
  return meeting_folder() + "/tilewire-" + std::to_string(std::hash<std::string>()(job));
}

/// The file with rank 0's id, there as a whole or not at all; gone with the object.
class Notice {
 public:
  Notice(std::string path, const char* text) : path_(std::move(path)) {
    const std::string draft = path_ + "." + std::to_string(getpid());
    unlink(draft.c_str());
    const int fd = open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) fail(draft);
    const auto size = static_cast<ssize_t>(std::strlen(text));
    const bool written = write(fd, text, std::strlen(text)) == size;
    close(fd);
    if (!written || rename(draft.c_str(), path_.c_str()) != 0) {
      unlink(draft.c_str());
      fail(path_);
    }
  }
  Notice(const Notice&) = delete;
  Notice& operator=(const Notice&) = delete;
  ~Notice() { unlink(path_.c_str()); }

 private:
  std::string path_;
};

std::string wait_for(const std::string& path) {
  const auto end = steady_clock::now() + kPatience;
  while (steady_clock::now() < end) {
    std::ifstream file(path);
    std::string text;
    if (file >> text) return text;
    std::this_thread::sleep_for(kPause);
  }
  throw std::runtime_error("rank 0 of this launch has not written " + path + " within " +
                           std::to_string(kPatience.count()) + " s");
}

}  // namespace

std::string job_name() {
  std::string name;
  for (const char* variable : {"PMIX_NAMESPACE", "OMPI_MCA_orte_hnp_uri"})
    if (const char* const value = std::getenv(variable)) name += std::string(value) + "\n";
  if (!name.empty()) return name;
  const pid_t parent = getppid();
  return std::to_string(parent) + " " + start_of(parent);
}

std::string meeting_folder() {
  const char* const given = std::getenv("XDG_RUNTIME_DIR");
  const bool has = given != nullptr && *given != '\0';
  std::string folder = has ? given : "/tmp/tilewire-" + std::to_string(geteuid());
  if (!has && mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) fail(folder);
  struct stat found = {};
  if (lstat(folder.c_str(), &found) != 0) fail(folder);
  if (!S_ISDIR(found.st_mode) || found.st_uid != geteuid() || (found.st_mode & 077) != 0)
    throw std::runtime_error(folder + " is not a folder of this user's alone; valid: mode 700");
  return folder;
}

tw_comm_t meet(int rank, int size, const tw_comm_config_t& config) {
  const std::string path = file_of(job_name());
  tw_unique_id_t id;
  tw_comm_t comm = nullptr;
  if (rank != 0) {
    cpp::check(tw_unique_id_from_text(wait_for(path).c_str(), &id));
    cpp::check(tw_comm_create(size, rank, &id, &config, &comm));
    return comm;
  }
  char text[TW_UNIQUE_ID_TEXT_BYTES];
  cpp::check(tw_unique_id_create(&id));
  cpp::check(tw_unique_id_to_text(&id, text));
  const Notice notice(path, text);
  cpp::check(tw_comm_create(size, rank, &id, &config, &comm));
  return comm;
}

}  // namespace tw::cli
