#include "lib/device/memory.h"

#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/fork.h"
#include "lib/base/random.h"
#include "lib/base/range_allocator.h"
#include "lib/device/shared_memory.h"

namespace tw {
namespace {

class Pool : public MappedPool {
 public:
  Pool(Fd file, size_t bytes) : file_(std::move(file)), mapping_(file_, 0, bytes) {}
  char* data() const override { return mapping_.data(); }
  size_t bytes() const { return mapping_.bytes(); }
  const Fd& file() const { return file_; }
  void close_file() { file_.reset(); }

 private:
  Fd file_;
  Mapping mapping_;
};

struct Allocation {
  RangeAllocator::Place place;
  size_t bytes;
  int uses = 0;
};

/// All of this process's allocations. The allocator's segments are the pools.
struct Memory {
  std::mutex mutex;
  RangeAllocator allocator;
  std::vector<std::shared_ptr<Pool>> pools;
  std::vector<uint64_t> ids;
  std::map<const char*, Allocation> live;
  std::map<uint64_t, std::weak_ptr<MappedPool>> mapped;  // by id: own pools and adopted ones
};

Memory& memory() {
  static Memory* const instance = new Memory;  // allocations live until the process ends
  return *instance;
}

void add_pool(Memory& m, size_t bytes) {
  watch_fork();  // a child would share the memory with its parent
  Fd file = create_memfd("tilewire-pool");
  grow_memfd(file, bytes);
  auto pool = std::make_shared<Pool>(std::move(file), bytes);
  const auto id = random_value<uint64_t>();
  m.mapped[id] = pool;
  m.pools.push_back(std::move(pool));
  m.ids.push_back(id);
  m.allocator.add_segment(bytes);
}

}  // namespace

void* mem_alloc(size_t bytes) {
  Memory& m = memory();
  const std::lock_guard<std::mutex> lock(m.mutex);
  RangeAllocator::Place place = m.allocator.allocate(bytes);
  if (place.segment < 0) {
    add_pool(m, m.allocator.next_segment_bytes(bytes));
    place = m.allocator.allocate(bytes);
  }
  char* const at = m.pools[static_cast<size_t>(place.segment)]->data() + place.offset;
  m.live[at] = {place, bytes, 0};
  return at;
}

void mem_free(void* ptr) {
  Memory& m = memory();
  const std::lock_guard<std::mutex> lock(m.mutex);
  const auto found = m.live.find(static_cast<const char*>(ptr));
  if (found == m.live.end())
    fail(TW_ERROR_INVALID_ARGUMENT, "ptr = %p is not a live allocation of tw_mem_alloc", ptr);
  if (found->second.uses != 0)
    fail(TW_ERROR_INVALID_STATE,
         "ptr = %p backs %d window(s) of tw_window_register: destroy them first", ptr,
         found->second.uses);
  const RangeAllocator::Place place = found->second.place;
  zero_again(m.pools[static_cast<size_t>(place.segment)]->file(), 0, place.offset,
             static_cast<char*>(ptr), place.bytes);
  m.allocator.release(place);
  m.live.erase(found);
}

MemoryUse::MemoryUse(const void* ptr, size_t bytes) {
  Memory& m = memory();
  const std::lock_guard<std::mutex> lock(m.mutex);
  const char* at = static_cast<const char*>(ptr);
  auto after = m.live.upper_bound(at);
  std::string near;
  if (after != m.live.begin()) {
    auto& [begin, allocation] = *std::prev(after);
    if (at <= begin + allocation.bytes &&
        bytes <= static_cast<size_t>(begin + allocation.bytes - at)) {
      const size_t index = static_cast<size_t>(allocation.place.segment);
      const Pool& pool = *m.pools[index];
      where_ = {m.ids[index], static_cast<size_t>(at - pool.data()), &pool.file(), pool.bytes()};
      begin_ = begin;
      ++allocation.uses;
      return;
    }
    near = text("; the nearest before it: [%p, +%zu)", static_cast<const void*>(begin),
                allocation.bytes);
  }
  fail(TW_ERROR_INVALID_ARGUMENT,
       "tw_window_register: [%p, +%zu) is not inside one allocation of tw_mem_alloc of this "
       "process%s",
       ptr, bytes, near.c_str());
}

MemoryUse::~MemoryUse() {
  if (begin_ == nullptr) return;
  Memory& m = memory();
  const std::lock_guard<std::mutex> lock(m.mutex);
  --m.live.find(begin_)->second.uses;
}

std::shared_ptr<MappedPool> find_pool(uint64_t id) {
  Memory& m = memory();
  const std::lock_guard<std::mutex> lock(m.mutex);
  const auto found = m.mapped.find(id);
  return found == m.mapped.end() ? nullptr : found->second.lock();
}

std::shared_ptr<MappedPool> adopt_pool(uint64_t id, Fd file, size_t bytes) {
  Memory& m = memory();
  const std::lock_guard<std::mutex> lock(m.mutex);
  if (std::shared_ptr<MappedPool> known = m.mapped[id].lock()) return known;
  auto pool = std::make_shared<Pool>(std::move(file), bytes);
  pool->close_file();  // only the owner passes it on
  m.mapped[id] = pool;
  std::erase_if(m.mapped, [](const auto& entry) { return entry.second.expired(); });
  return pool;
}

}  // namespace tw
