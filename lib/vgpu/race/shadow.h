// The latest accesses to each word of memory.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>

namespace tw::vgpu {

/// One access: whose, when, and where in which program.
struct Epoch {
  uint32_t block = 0;  // 0: none
  uint32_t clock = 0;
  uint32_t site = 0;
  uint16_t thread = 0;
  uint8_t scope = 0;  // 0: weak; else 1 + Scope
  uint8_t bytes = 0;  // of the word: a bit each
};

/// The latest store of any of the bytes, and two loads.
struct ShadowWord {
  Epoch write;
  Epoch reads[2];
};

class Shadow {
 public:
  /// The shadow of the 4 bytes that hold `address`.
  ShadowWord& word(uint64_t address) {
    const uint64_t page = address >> kPageBits;
    if (page != last_page_ || last_ == nullptr) {
      std::unique_ptr<Page>& found = pages_[page];
      if (!found) found = std::make_unique<Page>();
      last_ = found.get();
      last_page_ = page;
    }
    return (*last_)[(address & ((uint64_t{1} << kPageBits) - 1)) >> 2];
  }
  /// Forgets what was accessed in [begin, end).
  void clear(uint64_t begin, uint64_t end) {
    for (uint64_t address = begin & ~uint64_t{3}; address < end; address += 4) word(address) = {};
  }

 private:
  static constexpr int kPageBits = 12;
  using Page = std::array<ShadowWord, (size_t{1} << kPageBits) / 4>;
  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages_;
  uint64_t last_page_ = 0;
  Page* last_ = nullptr;
};

}  // namespace tw::vgpu
