#include "lib/device/gpu/words_pool.h"

#include <cstring>

namespace tw::gpu {
namespace {

constexpr size_t kPageBytes = 4096;

}  // namespace

class WordsPool::Words : public MeetingWords {
 public:
  Words(WordsPool& pool, Piece piece) : pool_(pool), piece_(piece) {}
  Words(const Words&) = delete;
  Words& operator=(const Words&) = delete;
  ~Words() override {
    const std::lock_guard<std::mutex> lock(pool_.mutex_);
    pool_.free_.push_back(piece_);
  }
  char* host() const override { return piece_.host; }
  char* device() const override { return reinterpret_cast<char*>(piece_.device); }

 private:
  WordsPool& pool_;
  const Piece piece_;
};

std::unique_ptr<MeetingWords> WordsPool::take() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_.empty()) add_page();
  const Piece piece = free_.back();
  free_.pop_back();
  std::memset(piece.host, 0, MeetingWords::kBytes);
  return std::make_unique<Words>(*this, piece);
}

void WordsPool::add_page() {
  void* page = nullptr;
  Address device = 0;
  TW_GPU(driver_, cuMemHostAlloc, &page, kPageBytes, kPortable | kDeviceMap);
  pages_.push_back(page);
  TW_GPU(driver_, cuMemHostGetDevicePointer, &device, page, 0);
  free_.reserve(pages_.size() * kPageBytes / MeetingWords::kBytes);  // giving back never fails
  for (size_t at = 0; at < kPageBytes; at += MeetingWords::kBytes)
    free_.push_back({static_cast<char*>(page) + at, device + at});
}

void WordsPool::free_all() {
  for (void* page : pages_) driver_.cuMemFreeHost(page);
  pages_.clear();
  free_.clear();
}

}  // namespace tw::gpu
