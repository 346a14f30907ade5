// What a step may be within the limits of prepare.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/model/desc.h"
#include "lib/model/model.h"

namespace tw {

/// Allocates nothing once it is made.
class StepCheck {
 public:
  StepCheck(const ModelDesc& desc, const ModelLimits& limits)
      : desc_(desc),
        limits_(limits),
        written_((static_cast<size_t>(limits.pages) * limits.page_size + 63) / 64) {}

  /// Throws INVALID_ARGUMENT naming `function`, array, index and value, and what would be valid.
  void operator()(const Step& step, const char* function);

 private:
  void check_sizes() const;
  void check_rows() const;
  void check_written();
  void check_sequences() const;
  void check_sequence(uint32_t q) const;
  void check_logits() const;
  void check_sampling(uint32_t i) const;
  void check_offsets(const char* array, const uint32_t* begin, uint32_t n, uint32_t most) const;
  void at_most(const char* what, uint32_t value, uint32_t least, uint32_t most) const;
  void in_range(const char* array, uint32_t i, int64_t value, int64_t least, int64_t most) const;
  void given(const void* pointer, const char* what) const;

  const ModelDesc& desc_;
  const ModelLimits limits_;
  std::vector<uint64_t> written_;  // a bit for each slot; zeros between checks
  Step s_;                         // the one that is being checked
  const char* function_ = "";
};

}  // namespace tw
