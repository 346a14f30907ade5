// Output of a rank, a line at a time, with the rank before each line.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>

namespace tw::run {

/// Writes all of `bytes`; false when the reader of `fd` has gone.
inline bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR && errno != EAGAIN) return false;
    if (written > 0) bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

/// Cuts a stream into lines and writes "[rank] line". A line goes out when it is complete, when the
/// stream ends, or in pieces of kLongest.
class Lines {
 public:
  static constexpr size_t kLongest = 1 << 20;

  Lines(int rank, int out) : prefix_("[" + std::to_string(rank) + "] "), out_(out) {}

  /// False when nobody reads any more.
  bool add(std::string_view bytes) {
    std::string text;
    for (size_t end; (end = bytes.find('\n')) != std::string_view::npos;) {
      text += prefix_ + partial_;
      text += bytes.substr(0, end + 1);
      partial_.clear();
      bytes.remove_prefix(end + 1);
    }
    partial_ += bytes;
    if (partial_.size() < kLongest) return write_all(out_, text);
    return write_all(out_, text) && finish();
  }

  /// The stream ended, perhaps within a line.
  bool finish() {
    if (partial_.empty()) return true;
    const std::string text = prefix_ + partial_ + "\n";
    partial_.clear();
    return write_all(out_, text);
  }

 private:
  const std::string prefix_;
  const int out_;
  std::string partial_;
};

}  // namespace tw::run
