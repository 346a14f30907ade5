#include "lib/device/gpu/small_memory.h"

#include "lib/device/gpu/device.h"
#include "lib/device/shared_memory.h"

namespace tw::gpu {

class SmallMemory::Piece : public DeviceMemory {
 public:
  Piece(SmallMemory& from, char* segment, const RangeAllocator::Place& place)
      : from_(from), data_(segment + place.offset), place_(place) {}
  Piece(const Piece&) = delete;
  Piece& operator=(const Piece&) = delete;
  ~Piece() override {
    const std::lock_guard<std::mutex> lock(from_.mutex_);
    from_.ranges_.release(place_);
  }
  char* data() const override { return data_; }

 private:
  SmallMemory& from_;
  char* const data_;
  const RangeAllocator::Place place_;
};

std::unique_ptr<DeviceMemory> SmallMemory::take(size_t bytes) {
  std::unique_ptr<Piece> piece;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    RangeAllocator::Place place = ranges_.allocate(bytes);
    if (place.segment < 0) {
      auto segment = device_.heaps()->create();
      segment->grow(0, kHugePage);
      segments_.push_back(std::move(segment));
      ranges_.add_segment(kHugePage);
      place = ranges_.allocate(bytes);
    }
    char* const begin = segments_[static_cast<size_t>(place.segment)]->segment(0);
    piece = std::make_unique<Piece>(*this, begin, place);
  }
  device_.zero(reinterpret_cast<Address>(piece->data()), bytes);
  return piece;
}

}  // namespace tw::gpu
