// What a step may be within the limits of prepare.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "lib/device/buffer.h"
#include "lib/model/desc.h"
#include "lib/model/model.h"

namespace tw {

/// Finds slots that are given twice; allocated once, for steps of up to so many rows.
class SlotTable {
 public:
  SlotTable() = default;
  explicit SlotTable(uint32_t rows);
  static size_t bytes(uint32_t rows);

  /// The first row whose slot an earlier one has, and that one; {rows, rows} when none has.
  /// Negative slots are none.
  std::pair<uint32_t, uint32_t> find_twice(const int64_t* slots, uint32_t rows);

 private:
  struct Place {
    uint32_t turn;  // of the step that took it
    uint32_t row;
  };
  static size_t places(uint32_t rows);
  Place* table() const { return reinterpret_cast<Place*>(memory_.data()); }

  size_t mask_ = 0;
  uint32_t turn_ = 0;
  Buffer memory_;
};

/// Throws INVALID_ARGUMENT naming `function`, array, index and value, and what would be valid.
void check_step(const Step& step, const ModelDesc& desc, const ModelLimits& limits,
                SlotTable* slots, const char* function);

}  // namespace tw
