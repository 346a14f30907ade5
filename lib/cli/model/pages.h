// Which pages of keys and values a sequence has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace tw::cli {

/// Page numbers 0 to pages - 1, each with one owner or none.
class PagePool {
 public:
  explicit PagePool(uint32_t pages) {
    free_.reserve(pages);
    for (uint32_t page = pages; page > 0; --page) free_.push_back(page - 1);
  }

  size_t free() const { return free_.size(); }

  /// Throws std::runtime_error when all are taken.
  uint32_t take() {
    if (free_.empty()) throw std::runtime_error("all pages of keys and values are taken");
    const uint32_t page = free_.back();
    free_.pop_back();
    return page;
  }
  void give_back(uint32_t page) { free_.push_back(page); }

 private:
  std::vector<uint32_t> free_;
};

/// The pages of one sequence, in its order. `pool` outlives it.
class PageTable {
 public:
  PageTable(PagePool& pool, uint32_t page_size) : pool_(pool), page_size_(page_size) {}
  PageTable(const PageTable&) = delete;
  PageTable& operator=(const PageTable&) = delete;
  ~PageTable() { resize(0); }

  /// Makes room for `tokens`, or gives back the pages that so many do not need. Throws as
  /// PagePool::take.
  void resize(size_t tokens) {
    const size_t wanted = (tokens + page_size_ - 1) / page_size_;
    while (pages_.size() < wanted) pages_.push_back(pool_.take());
    while (pages_.size() > wanted) {
      pool_.give_back(pages_.back());
      pages_.pop_back();
    }
  }

  /// Where the token at `position` is, as tw_step_t::slots has it.
  int64_t slot(size_t position) const {
    return int64_t{pages_[position / page_size_]} * page_size_ +
           static_cast<int64_t>(position % page_size_);
  }

  const std::vector<uint32_t>& pages() const { return pages_; }

 private:
  PagePool& pool_;
  const uint32_t page_size_;
  std::vector<uint32_t> pages_;
};

}  // namespace tw::cli
