// What kernels may address in global memory: regions of the process's own address space, with the
// rights of each GPU.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace tw::vgpu {

inline constexpr int kMaxGpus = 8;

enum class Access : uint8_t { kNone = 0, kRead = 1, kReadWrite = 3 };

struct Region {
  uint64_t begin = 0;
  uint64_t end = 0;
  int home = -1;  // the GPU that has the memory; -1: the host
  Access access[kMaxGpus] = {};
  std::vector<uint64_t> replicas;  // a multicast region's: where its members' memory begins
  std::string origin;              // for reports: what made it
};

/// Regions by address. Changed under the machine's lock only.
class Memory {
 public:
  /// `region` must not overlap another.
  void add(Region region);
  /// Removes the region that begins at `begin`; remembered for reports.
  void remove(uint64_t begin);
  /// The region that holds `address`, or null. Valid until the next change.
  const Region* find(uint64_t address) const;
  Region* find(uint64_t address);
  /// Changes whenever a region does.
  uint64_t epoch() const { return epoch_; }
  void changed() { ++epoch_; }
  /// "12 bytes after the end of ...", "in freed ...": what an address that is nobody's is near.
  std::string describe(uint64_t address) const;

 private:
  std::vector<std::unique_ptr<Region>> regions_;  // by begin
  std::vector<Region> removed_;                   // the latest
  uint64_t epoch_ = 1;
};

/// The regions that a warp touched last: most accesses need no search.
struct ReachCache {
  static constexpr int kEntries = 4;
  struct Entry {
    uint64_t begin = 0;
    uint64_t end = 0;
    bool writes = false;
  };
  Entry entries[kEntries];
  int next = 0;
  uint64_t epoch = 0;
};

}  // namespace tw::vgpu
