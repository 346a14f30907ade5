#include "lib/coll/collectives.h"

#include <algorithm>
#include <atomic>

#include "lib/base/error.h"
#include "lib/coll/fused.h"
#include "lib/comm/call_text.h"
#include "lib/comm/comm.h"
#include "lib/device/kernels.h"

namespace tw {
namespace {

/// Scaled sums are tw_op_t values of their own: kScaledBase | generation << 12 | index.
constexpr int kScaledBase = 1 << 30;
constexpr int kScaledIndexBits = 12;
constexpr uint32_t kScaledGenerations = 1 << 17;
/// Process wide, so that an op of another comm is told apart.
std::atomic<uint32_t> next_generation{1};

std::array<Kernel, kCollectives> kernels_of(Device& device) {
  std::array<Kernel, kCollectives> kernels{};
  const auto row = [&](CollOp op, const KernelImage& image) { kernels[op] = device.kernel(image); };
  row(kAllReduce, kernels::all_reduce);
  row(kReduce, kernels::reduce);
  row(kBroadcast, kernels::broadcast);
  row(kAllGather, kernels::all_gather);
  row(kReduceScatter, kernels::reduce_scatter);
  row(kAllToAll, kernels::all_to_all);
  row(kGather, kernels::gather);
  row(kScatter, kernels::scatter);
  row(kAllGatherV, kernels::all_gather);
  row(kReduceScatterV, kernels::reduce_scatter);
  row(kAllToAllV, kernels::all_to_all);
  row(kBarrier, kernels::barrier);
  return kernels;
}

/// Bytes from which a message is read in place where it lies in a window.
constexpr size_t kWindowSendFrom = 2 << 10;

/// Part of the digest, so that ranks with different limits (tw_comm_set_max_blocks on some only)
/// end in an error instead of waiting for blocks that the others do not have.
uint64_t blocks_digest(int blocks) {
  return static_cast<uint64_t>(blocks - 1) * UINT64_C(0xBF58476D1CE4E5B9);
}

RanksClass ranks_class(const Comm& comm) {
  if (comm.more_ranks_than_cores()) return RanksClass::kOver;
  return comm.size() <= 2 ? RanksClass::kTwo : RanksClass::kFits;
}

}  // namespace

void launch_call(Device& device, const Launch& launch, CollArgs args) {
  const size_t** const arrays[] = {&args.send_counts, &args.send_displs, &args.recv_counts,
                                   &args.recv_displs};
  const size_t bytes = static_cast<size_t>(args.comm.size) * sizeof(size_t);
  for (const size_t** array : arrays)
    if (*array != nullptr) *array = static_cast<const size_t*>(device.stage(*array, bytes));
  device.launch(launch.kernel, &args, launch.blocks);
}

Collectives::Collectives(Comm& comm, const Forced& forced)
    : comm_(comm),
      most_blocks_(comm.max_blocks()),
      table_(machine_of(comm.device()), ranks_class(comm), forced, comm.view().layout,
             comm.device().framing(), comm.max_blocks()),
      on_host_(comm.device().is_host()),
      kernels_(kernels_of(comm.device())),
      send_recv_(comm.device().kernel(kernels::send_recv)),
      forced_(forced) {
  forget_plan();
  args_.comm = comm.view();
}

Collectives::~Collectives() = default;

int Collectives::set_max_blocks(int max_blocks) {
  const int blocks = max_blocks == 0 ? most_blocks_ : std::min(max_blocks, most_blocks_);
  table_.set_max_blocks(blocks);
  forget_plan();
  return blocks;
}

void Collectives::make_plan(const Call& call) {
  forget_plan();
  const Place place{comm_.rank(), comm_.size()};
  Call checked = call;
  const ScaledSum* scaled = find_scaled_sum(call.op);
  if (scaled != nullptr) {
    if (scaled->type != call.type)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: op %d is a scaled sum of %s; type is %s",
           name_of(call.call), call.op, type_name(scaled->type), type_name(call.type));
    checked.op = TW_SUM;
  }
  const Extents extents = check_call(checked, place);
  const size_t largest = largest_slice(checked, place);
  if (largest > table_.most_bytes(call.call))
    fail(TW_ERROR_OUT_OF_RESOURCES,
         "%s: %zu bytes between two ranks; valid: up to %zu with the comm's memory of %zu bytes "
         "(config.max_memory, TW_COMM_MAX_MEMORY)",
         name_of(call.call), largest, table_.most_bytes(call.call), comm_.area_bytes());
  const Choice choice = table_.choose(call.call, message_bytes(checked, place));
  args_.call = call.call;
  args_.algo = choice.algo;
  args_.store = choice.store;
  args_.reduction = {static_cast<tw_type_t>(call.type), static_cast<tw_op_t>(checked.op),
                     scaled != nullptr, scaled != nullptr ? scaled->factor : 0};
  args_.root = call.root;
  args_.count = total_count(checked, place);
  args_.element = kTypeBytes[call.type];
  args_.chunk = choice.chunk;
  args_.send_at = args_.recv_at = 0;
  args_.send_counts = call.send_counts;
  args_.send_displs = call.send_displs;
  args_.recv_counts = call.recv_counts;
  args_.recv_displs = call.recv_displs;
  plan_.extents = extents;
  plan_.launch = {kernels_[call.call], choice.blocks};
  plan_.digest = call_digest(checked, place, scaled != nullptr) ^ blocks_digest(choice.blocks);
  plan_.locate = choice.algo == CollAlgo::kDirect;
  // Counts of uneven forms may change under the same pointers: their plans serve one call.
  if (!is_uneven(call.call)) plan_.of = call;
}

void Collectives::refuse(const Call& call) {
  Call checked = call;
  if (find_scaled_sum(call.op) != nullptr) checked.op = TW_SUM;
  check_call(checked, {comm_.rank(), comm_.size()});
  fail(TW_ERROR_INTERNAL, "%s: refused valid buffers", name_of(call.call));
}

void Collectives::check_reach(const Message& m) const {
  if (!on_host_ && m.count != 0 && comm_.locate(m.data, m.count * kTypeBytes[m.type]) == 0)
    comm_.device().check_reach(m.data, "the buffer");
}

void Collectives::check_reach(const Call& call) const {
  const Extents& extents = plan_.extents;
  if (extents.send_bytes != 0 && comm_.locate(call.send, extents.send_bytes) == 0)
    comm_.device().check_reach(call.send, "send");
  if (extents.recv_bytes != 0 && comm_.locate(call.recv, extents.recv_bytes) == 0)
    comm_.device().check_reach(call.recv, "recv");
}

void Collectives::locate_buffers() {
  args_.send_at = comm_.locate(args_.send, plan_.extents.send_bytes);
  args_.recv_at = comm_.locate(args_.recv, plan_.extents.recv_bytes);
}

PreparedCall Collectives::prepare_copy(const Call& call) {
  const Launch launch = prepare(call);
  PreparedCall copy{launch, args_, {}};
  const size_t n = static_cast<size_t>(comm_.size());
  const size_t** const arrays[] = {&copy.args.send_counts, &copy.args.send_displs,
                                   &copy.args.recv_counts, &copy.args.recv_displs};
  copy.arrays.reserve(4 * n);  // so that the addresses below stay
  for (const size_t** array : arrays)
    if (*array != nullptr) {
      const size_t at = copy.arrays.size();
      copy.arrays.insert(copy.arrays.end(), *array, *array + n);
      *array = copy.arrays.data() + at;
    }
  return copy;
}

Transfer Collectives::number(const Message& m) {
  const size_t bytes = m.count * kTypeBytes[m.type];
  return {m.peer,
          m.is_send,
          m.data,
          comm_.locate(m.data, bytes),
          bytes,
          message_digest(m.type, m.count),
          numbers_.next(m),
          0};
}

void Collectives::run_transfers(Transfer* transfers, int n) {
  if (n == 0) return;
  SendRecvArgs args{comm_.view(), StorePolicy::kPlain, kWindowSendFrom, transfers, n};
  if (!on_host_) {
    // Queued: its kernel keeps the progress in a copy.
    args.transfers = static_cast<Transfer*>(const_cast<void*>(
        comm_.device().stage(transfers, static_cast<size_t>(n) * sizeof(Transfer))));
    return comm_.device().launch(send_recv_, &args, 1);
  }
  send_recv_.cpu(&args, 0, 1);
  const bool done = std::all_of(transfers, transfers + n,
                                [](const Transfer& t) { return t.progress == kTransferDone; });
  if (!done) comm_.check();
}

Lane& Collectives::lane(LaneUse use) {
  if (lanes_[use] == nullptr) lanes_[use] = std::make_unique<Lane>();
  return *lanes_[use];
}

Fused& Collectives::fused() {
  if (fused_ == nullptr)
    fused_ = std::make_unique<Fused>(comm_, *this, forced_, ranks_class(comm_), most_blocks_);
  return *fused_;
}

const Collectives::ScaledSum* Collectives::find_scaled_sum(int op) const {
  if (op < kScaledBase) return nullptr;
  const uint32_t bits = static_cast<uint32_t>(op - kScaledBase);
  const size_t index = bits & ((1u << kScaledIndexBits) - 1);
  if (index >= scaled_.size()) return nullptr;
  const ScaledSum& sum = scaled_[index];
  return sum.live && sum.generation == bits >> kScaledIndexBits ? &sum : nullptr;
}

tw_op_t Collectives::create_scaled_sum(uint64_t factor, int type) {
  size_t index = 0;
  while (index < scaled_.size() && scaled_[index].live) ++index;
  if (index == scaled_.size()) {
    if (index == size_t{1} << kScaledIndexBits)
      fail(TW_ERROR_OUT_OF_RESOURCES, "this comm has %zu scaled sums alive already", index);
    scaled_.push_back({});
  }
  ScaledSum& sum = scaled_[index];
  sum.factor = factor;
  sum.type = type;
  sum.live = true;
  sum.generation = next_generation.fetch_add(1, std::memory_order_relaxed) % kScaledGenerations;
  return static_cast<tw_op_t>(kScaledBase + static_cast<int>(sum.generation << kScaledIndexBits) +
                              static_cast<int>(index));
}

void Collectives::destroy_op(int op) {
  const ScaledSum* sum = find_scaled_sum(op);
  if (sum == nullptr)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "op = %d is not alive; valid: one from tw_op_create_scaled_sum of this comm", op);
  scaled_[static_cast<size_t>(sum - scaled_.data())].live = false;
  forget_plan();
}

}  // namespace tw
