#include "lib/coll/choice.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <cstring>
#include <iterator>

#include "lib/base/config.h"
#include "lib/base/error.h"
#include "lib/coll/tuning_words.h"
#include "lib/comm/call_text.h"

namespace tw {
namespace {

constexpr size_t kNoEnd = SIZE_MAX;
constexpr const char* kGpuVendor = "gpu";     // no CPU's
constexpr size_t kBytesPerBlock = 256 << 10;  // below, a further block costs more than it brings
constexpr size_t kDefaultChunk = 128 << 10;

constexpr const char* kAlgoNames[] = {"packet", "slot", "pull", "direct"};
constexpr const char* kStoreNames[] = {"plain", "nontemporal"};
constexpr const char* kRanksNames[] = {"two", "fits", "over"};

std::vector<Machine> read_table() {
  std::vector<Machine> all;
#define TW_MACHINE(name, vendor, family, first, last, origin) \
  all.push_back({#name, vendor, family, first, last, origin, {}, {}});
#define TW_CHOICE(op, ranks, up_to, algo, store, chunk) \
  all.back().lines.push_back(TW_CHOICE_LINE(op, ranks, up_to, algo, store, chunk));
#define TW_FUSED(op, ranks, up_to, how) \
  all.back().fused.push_back(TW_FUSED_LINE(op, ranks, up_to, how));
#include "lib/coll/tuning.def"
#undef TW_MACHINE
#undef TW_CHOICE
#undef TW_FUSED
  return all;
}

struct CpuIdentity {
  std::string vendor;
  int family = 0, model = 0;
};

CpuIdentity identify() {
  CpuIdentity cpu;
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0, &a, &b, &c, &d) != 0) {
    char vendor[12];
    std::memcpy(vendor, &b, 4);
    std::memcpy(vendor + 4, &d, 4);
    std::memcpy(vendor + 8, &c, 4);
    cpu.vendor.assign(vendor, sizeof vendor);
  }
  if (__get_cpuid(1, &a, &b, &c, &d) != 0) {
    cpu.family = static_cast<int>((a >> 8) & 15);
    cpu.model = static_cast<int>((a >> 4) & 15);
    if (cpu.family == 6 || cpu.family == 15) cpu.model += static_cast<int>((a >> 16) & 15) << 4;
    if (cpu.family == 15) cpu.family += static_cast<int>((a >> 20) & 255);
  }
#else
  cpu.vendor = "other";
#endif
  return cpu;
}

}  // namespace

const char* name_of(CollAlgo algo) { return kAlgoNames[static_cast<int>(algo)]; }
const char* name_of(StorePolicy store) { return kStoreNames[static_cast<int>(store)]; }
const char* name_of(RanksClass ranks) { return kRanksNames[static_cast<int>(ranks)]; }
const char* name_of(CollOp op) { return call_name(op); }

const std::vector<Machine>& machines() {
  static const std::vector<Machine> all = read_table();
  return all;
}

const Machine& machine_of(const std::string& vendor, int family, int model) {
  for (const Machine& m : machines())
    if (*m.vendor == '\0' || (vendor == m.vendor && family == m.family && model >= m.first_model &&
                              model <= m.last_model))
      return m;
  fail(TW_ERROR_INTERNAL, "lib/coll/tuning.def has no line for every CPU");
}

const Machine& this_machine() {
  static const CpuIdentity cpu = identify();
  return machine_of(cpu.vendor, cpu.family, cpu.model);
}

const Machine& machine_of(const Device& device) {
  return device.is_host() ? this_machine() : machine_of(kGpuVendor, 0, 0);
}

std::string cpu_description() {
  const CpuIdentity cpu = identify();
  return text("%s family %d model %d", cpu.vendor.c_str(), cpu.family, cpu.model);
}

Forced Forced::from_environment() {
  Forced forced;
  const int algo = config::choice("TW_COLL_ALGO", kAlgoNames, std::size(kAlgoNames));
  const int store = config::choice("TW_COLL_STORE", kStoreNames, std::size(kStoreNames));
  forced.algo_set = algo >= 0;
  if (forced.algo_set) forced.algo = static_cast<CollAlgo>(algo);
  forced.store_set = store >= 0;
  if (forced.store_set) forced.store = static_cast<StorePolicy>(store);
  forced.chunk = config::bytes("TW_COLL_CHUNK");
  const int64_t blocks = config::integer("TW_COLL_BLOCKS");
  if (blocks < 0 || blocks > 4096)
    fail(TW_ERROR_INVALID_ARGUMENT, "TW_COLL_BLOCKS=%lld is not between 0 (by size) and 4096",
         static_cast<long long>(blocks));
  forced.blocks = static_cast<int>(blocks);
  forced.fused = FusedForced::from_environment();
  return forced;
}

std::string Forced::agreement() const {
  return text("TW_COLL_ALGO=%s\nTW_COLL_STORE=%s\nTW_COLL_CHUNK=%zu\nTW_COLL_BLOCKS=%d\n",
              algo_set ? name_of(algo) : "auto", store_set ? name_of(store) : "auto", chunk,
              blocks) +
         fused.agreement();
}

ChoiceTable::ChoiceTable(const Machine& machine, RanksClass ranks, const Forced& forced,
                         const CommLayout& layout, const Framing& framing, int max_blocks)
    : forced_(forced), layout_(layout), framing_(framing), max_blocks_(max_blocks) {
  for (const ChoiceLine& line : machine.lines)
    if (line.ranks == ranks)
      segments_[line.op].push_back({line.up_to, line.algo, line.store, line.chunk});
  for (auto& segments : segments_) {
    std::sort(segments.begin(), segments.end(),
              [](const Segment& a, const Segment& b) { return a.up_to < b.up_to; });
    if (segments.empty() || segments.back().up_to != kNoEnd)
      segments.push_back({kNoEnd, CollAlgo::kDirect, StorePolicy::kPlain, kDefaultChunk});
  }
}

CollAlgo ChoiceTable::possible(CollAlgo wanted, CollOp op, size_t bytes) const {
  // No rank knows all counts of all_to_all_v, so none may rely on the size of a buffer.
  if (op == kAllToAllV) return CollAlgo::kDirect;
  for (const CollAlgo algo : {CollAlgo::kPacket, CollAlgo::kSlot, CollAlgo::kPull})
    if (wanted == algo && bytes > message_limit(layout_, framing_, algo, op))
      wanted = static_cast<CollAlgo>(static_cast<uint32_t>(algo) + 1);
  return wanted;
}

Choice ChoiceTable::choose(CollOp op, size_t bytes) const {
  const Segment* segment = segments_[op].data();
  while (bytes > segment->up_to) ++segment;
  Choice choice{possible(forced_.algo_set ? forced_.algo : segment->algo, op, bytes),
                forced_.store_set ? forced_.store : segment->store,
                forced_.chunk != 0 ? forced_.chunk : segment->chunk, 1};
  if (choice.chunk == 0) choice.chunk = kDefaultChunk;
  if (forced_.blocks != 0)
    choice.blocks = std::min(forced_.blocks, max_blocks_);
  else if (choice.algo == CollAlgo::kPull || choice.algo == CollAlgo::kDirect)
    choice.blocks = static_cast<int>(
        std::min<size_t>(static_cast<size_t>(max_blocks_), 1 + bytes / kBytesPerBlock));
  // With little memory not every block gets a lane of it.
  const size_t most = staged_blocks(layout_, framing_.granule, op);
  choice.blocks = static_cast<int>(std::min(static_cast<size_t>(choice.blocks), most));
  return choice;
}

}  // namespace tw
