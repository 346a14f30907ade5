// Heaps in a GPU's memory.
//
// A segment is one physical allocation (cuMemCreate) with an address range of its own. Its owner
// exports it as a POSIX descriptor, one a segment, which peers in other processes import and map.
// In the owner's process all ranks use the owner's mapping: a peer only asks for its own GPU's
// rights to it. A segment goes when the last rank of the process that uses it lets go; the physical
// memory when no process does.
#pragma once

#include <memory>

#include "lib/device/heap.h"

namespace tw::gpu {

class GpuDevice;

class GpuHeaps : public Heaps {
 public:
  explicit GpuHeaps(GpuDevice& device) : device_(device) {}
  std::shared_ptr<Heap> create() override;
  std::shared_ptr<Heap> find(uint64_t id) override;
  std::shared_ptr<Heap> adopt(uint64_t id) override;

 private:
  GpuDevice& device_;
};

}  // namespace tw::gpu
