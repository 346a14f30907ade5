#include "lib/cli/model/open.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "lib/model/file.h"

namespace tw::cli {
namespace {

constexpr int kWidth = 40;

/// A bar that is drawn again when it has grown.
struct Bar {
  int drawn = -1;
};

void draw(uint64_t done, uint64_t all, void* user) {
  Bar& bar = *static_cast<Bar*>(user);
  const int filled = all == 0 ? kWidth : static_cast<int>(done * kWidth / all);
  if (filled == bar.drawn) return;
  bar.drawn = filled;
  std::fprintf(stderr, "\rloading [%s%s]", std::string(static_cast<size_t>(filled), '#').c_str(),
               std::string(static_cast<size_t>(kWidth - filled), ' ').c_str());
}

}  // namespace

FileText read_text_of(const std::string& path) {
  const ModelFile file(path);
  return {file.vocabulary(), file.desc().context};
}

cpp::Model load(tw_comm_t comm, const std::string& path) {
  int rank = 0;
  cpp::check(tw_comm_rank(comm, &rank));
  Bar bar;
  tw_load_config_t config = TW_LOAD_CONFIG_INIT;
  if (rank == 0 && isatty(STDERR_FILENO) != 0) {
    config.progress = draw;
    config.user = &bar;
  }
  tw_model_t model = nullptr;
  const tw_status_t status = tw_model_load(comm, path.c_str(), &config, &model);
  if (bar.drawn >= 0) std::fprintf(stderr, "\r%*s\r", kWidth + 10, "");
  cpp::check(status);
  return cpp::Model(model);
}

std::string read_file(const std::string& path) {
  const auto fail = [&] {
    throw std::runtime_error("cannot read \"" + path + "\": " + std::strerror(errno));
  };
  const auto close = [](std::FILE* file) { return file == stdin ? 0 : std::fclose(file); };
  const std::unique_ptr<std::FILE, decltype(close)> file(
      path == "-" ? stdin : std::fopen(path.c_str(), "rb"), close);
  if (file == nullptr) fail();
  std::string text;
  char buffer[1 << 16];
  while (const size_t got = std::fread(buffer, 1, sizeof buffer, file.get()))
    text.append(buffer, got);
  if (std::ferror(file.get()) != 0) fail();
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace tw::cli
