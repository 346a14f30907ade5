#include "lib/topo/topology.h"

#include <hwloc.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "lib/base/error.h"

namespace tw {
namespace {

struct Destroy {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};
using Topology = std::unique_ptr<hwloc_topology, Destroy>;

Topology load() {
  hwloc_topology_t made = nullptr;
  if (hwloc_topology_init(&made) != 0) fail_errno("hwloc_topology_init", errno);
  Topology topology(made);
  hwloc_topology_set_io_types_filter(made, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
  // These open drivers, which may take seconds and memory; what they add is not needed here.
  for (const char* component : {"cuda", "nvml", "opencl", "rsmi", "levelzero", "gl"})
    hwloc_topology_set_components(made, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, component);
  if (hwloc_topology_load(made) != 0) fail_errno("hwloc_topology_load", errno);
  return topology;
}

std::string list_of(hwloc_const_bitmap_t set) {
  std::vector<char> buffer(static_cast<size_t>(hwloc_bitmap_list_snprintf(nullptr, 0, set)) + 1);
  hwloc_bitmap_list_snprintf(buffer.data(), buffer.size(), set);
  return buffer.data();
}

std::string bytes_text(uint64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  for (; bytes >= 10240 && unit < 4; ++unit) bytes /= 1024;
  return text("%llu %s", static_cast<unsigned long long>(bytes), units[unit]);
}

const char* or_unknown(const char* value) { return value == nullptr ? "unknown" : value; }

std::string cpus_line(hwloc_topology_t t) {
  const std::unique_ptr<hwloc_bitmap_s, decltype(&hwloc_bitmap_free)> mine(hwloc_bitmap_alloc(),
                                                                           hwloc_bitmap_free);
  std::string allowed = "unknown";
  if (mine != nullptr && hwloc_get_cpubind(t, mine.get(), HWLOC_CPUBIND_THREAD) == 0)
    allowed = text("%s (%d)", list_of(mine.get()).c_str(), hwloc_bitmap_weight(mine.get()));
  hwloc_obj_t package = hwloc_get_obj_by_type(t, HWLOC_OBJ_PACKAGE, 0);
  const char* model =
      package == nullptr ? nullptr : hwloc_obj_get_info_by_name(package, "CPUModel");
  return text(
      "cpu        %s\ncores      %d package(s), %d core(s), %d hardware thread(s); "
      "this thread may use %s\n",
      or_unknown(model), hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_PACKAGE),
      hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_CORE), hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_PU),
      allowed.c_str());
}

std::string memory_lines(hwloc_topology_t t) {
  std::string out;
  for (hwloc_obj_t node = nullptr;
       (node = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_NUMANODE, node)) != nullptr;)
    out +=
        text("numa %-5u %s, hardware threads %s\n", node->os_index,
             bytes_text(node->attr->numanode.local_memory).c_str(), list_of(node->cpuset).c_str());
  return out;
}

std::string cache_lines(hwloc_topology_t t) {
  std::string out;
  for (const hwloc_obj_type_t type :
       {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L4CACHE}) {
    hwloc_obj_t cache = hwloc_get_obj_by_type(t, type, 0);
    if (cache == nullptr) continue;
    out += text("%-10s %d x %s, line %u bytes, each shared by %d hardware thread(s)\n",
                hwloc_obj_type_string(type), hwloc_get_nbobjs_by_type(t, type),
                bytes_text(cache->attr->cache.size).c_str(), cache->attr->cache.linesize,
                hwloc_bitmap_weight(cache->cpuset));
  }
  return out;
}

/// GPUs and network devices by the names that the operating system gives them.
std::string device_lines(hwloc_topology_t t) {
  std::string out;
  for (hwloc_obj_t device = nullptr; (device = hwloc_get_next_osdev(t, device)) != nullptr;) {
    const hwloc_obj_osdev_type_t type = device->attr->osdev.type;
    const char* what = type == HWLOC_OBJ_OSDEV_GPU || type == HWLOC_OBJ_OSDEV_COPROC ? "gpu"
                       : type == HWLOC_OBJ_OSDEV_NETWORK                             ? "network"
                       : type == HWLOC_OBJ_OSDEV_OPENFABRICS                         ? "infiniband"
                                                                                     : nullptr;
    if (what == nullptr) continue;
    const hwloc_obj_t at = hwloc_get_non_io_ancestor_obj(t, device);
    out += text("%-10s %s, near hardware threads %s\n", what, or_unknown(device->name),
                list_of(at->cpuset).c_str());
  }
  return out;
}

}  // namespace

std::string describe_topology() {
  const Topology topology = load();
  hwloc_topology_t t = topology.get();
  return cpus_line(t) + memory_lines(t) + cache_lines(t) + device_lines(t);
}

}  // namespace tw
