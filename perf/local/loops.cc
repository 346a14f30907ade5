#include "perf/local/loops.h"

#include "tilewire/tile/block.h"

namespace TW_NS {

namespace {

StorePolicy policy(bool non_temporal) {
  return non_temporal ? StorePolicy::kNonTemporal : StorePolicy::kPlain;
}

void copy(void* to, const void* from, size_t bytes, bool non_temporal) {
  Block(0, 1, "copy", nullptr).store(to, from, bytes, policy(non_temporal));
}

void reduce(tw_type_t type, void* to, const void* const* from, int sources, size_t bytes,
            size_t element, bool non_temporal) {
  Block block(0, 1, "reduce", nullptr);
  const auto source = [&](int s) { return Source{from[s], 0, false}; };
  const auto destination = [&](int) { return Destination{to, policy(non_temporal)}; };
  block.reduce(Reduction{type, TW_SUM, 0, 0}, sources, source, 1, destination, bytes / element,
               element);
}

void pack(void* inbox, const void* from, size_t bytes, uint64_t word) {
  Block(0, 1, "pack", nullptr).put_packets(inbox, from, bytes, word, nullptr);
}

void unpack(void* to, const void* inbox, size_t bytes, uint64_t word) {
  Block(0, 1, "unpack", nullptr).get_packets(to, inbox, bytes, word, 0);
}

}  // namespace

const perf::LocalLoops& local_loops();
const perf::LocalLoops& local_loops() {
  static constexpr perf::LocalLoops kLoops{
      Target::kName, copy, reduce, pack, unpack, Target::kPacketBytes, Target::kPacketPayload};
  return kLoops;
}

}  // namespace TW_NS
