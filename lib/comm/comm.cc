#include "lib/comm/comm.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <sstream>

#include "lib/base/config.h"
#include "lib/base/error.h"
#include "lib/base/fork.h"
#include "lib/base/log.h"
#include "lib/base/random.h"
#include "lib/comm/control.h"
#include "lib/device/gpu/device.h"
#include "lib/net/process.h"
#include "tilewire/tile/channel.h"

namespace tw {
namespace {

constexpr size_t kFlagStride = 128;
constexpr size_t kPacketBytes = 2048;  // 32 lines: up to 1792 bytes of payload
constexpr size_t kSlotBytes = size_t{256} << 10;
constexpr size_t kStagingBytes = size_t{8} << 20;
constexpr size_t kChannelBytes = size_t{256} << 10;
constexpr int kMostWorkers = 4096;
constexpr int kSpins = 4000;  // about 0.1 ms before a wait yields

/// The comm's own memory a rank, halved until it fits the cap. The least leaves every pipeline
/// of one block something to move (kernels/coll.h, staged_blocks).
CommLayout layout_for(int ranks, size_t cap) {
  size_t slot = kSlotBytes, staging = kStagingBytes, channel = kChannelBytes;
  for (;;) {
    const CommLayout layout =
        comm_layout(ranks, kMostBlocks, kFlagStride, kPacketBytes, slot, staging, channel);
    if (cap == 0 || layout.end <= cap) return layout;
    if (slot <= 4096)
      fail(TW_ERROR_INVALID_ARGUMENT, "max_memory = %zu bytes; %d ranks need at least %zu", cap,
           ranks, layout.end);
    slot /= 2;
    staging /= 2;
    channel = std::max(channel / 2, kLeastChannelBytes);
  }
}

}  // namespace

CommOptions CommOptions::merge(const tw_comm_config_t& config, const char* function,
                               const std::string& name) {
  // A field's value, or the variable's where the field leaves it open.
  const auto chosen = [&](int64_t field, int64_t open, const char* field_name, const char* variable,
                          int64_t most) {
    const bool of_config = field != open;
    const int64_t value = of_config ? field : config::integer(variable);
    if (value < 0 || value > most)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s%s = %lld; valid: 0 to %lld", function,
           of_config ? "config." : "", of_config ? field_name : variable,
           static_cast<long long>(value), static_cast<long long>(most));
    return value;
  };
  constexpr int64_t kLongest = INT64_MAX / 1000000;
  CommOptions o;
  o.name = config.name == nullptr ? name : config.name;
  o.timeout_ms = chosen(config.timeout_ms, -1, "timeout_ms", "TW_COMM_TIMEOUT_MS", kLongest);
  o.setup_timeout_ms =
      chosen(config.setup_timeout_ms, -1, "setup_timeout_ms", "TW_COMM_SETUP_TIMEOUT_MS", kLongest);
  o.workers =
      static_cast<int>(chosen(config.workers, 0, "workers", "TW_COMM_WORKERS", kMostWorkers));
  o.max_blocks = static_cast<int>(
      chosen(config.max_blocks, 0, "max_blocks", "TW_COMM_MAX_BLOCKS", kMostBlocks));
  o.max_memory = config.max_memory != 0 ? config.max_memory : config::bytes("TW_COMM_MAX_MEMORY");
  o.agreement = text("version=%d\ntimeout_ms=%lld\nmax_memory=%zu\n", TW_VERSION,
                     static_cast<long long>(o.timeout_ms), o.max_memory);
  return o;
}

/// What a rank tells the others at set-up. Text fields are NUL-terminated.
struct Comm::Card {
  char failure[512];  // why this rank cannot take part; "" = it can
  int32_t status;
  char host[160];
  char mesh_name[64];
  uint64_t process;
  uint64_t heap;
  uint64_t control;  // heap of the control block
  char device[64];   // Device::identity
  net::MeshKey key_share;
  uint64_t number_share;
  cpu_set_t cores;
  char agreement[768];
};

/// How set-up ended on a rank (then its failure in words), and its limits.
struct Comm::Terms {
  int32_t status;
  int32_t blocks;
  int32_t shares_cores;
};

Comm::Comm(const boot::Exchange& exchange, CommOptions options)
    : rank_(exchange.rank()), size_(exchange.size()), options_(std::move(options)) {}

std::unique_ptr<Comm> Comm::create(boot::Exchange& exchange, const CommOptions& options,
                                   std::shared_ptr<Device> device) {
  watch_fork();
  std::unique_ptr<Comm> comm(new Comm(exchange, options));
  comm->device_ = std::move(device);
  comm->connect(exchange);
  return comm;
}

Comm::~Comm() {
  // A peer that sees the hang-up looks here first.
  if (!control_starts_.empty())
    __atomic_store_n(&host_control(control_block(rank_)).left, 1, __ATOMIC_RELEASE);
  watches_.clear();
  kernel_watch_.reset();
  collectives_.reset();
  if (parent_ != nullptr) --parent_->children;
}

void Comm::set_parent(Comm* parent, std::vector<int> members) {
  parent_ = parent;
  parent_ranks_ = std::move(members);
  ++parent->children;
}

RankControl& Comm::control_block(int rank) const {
  return *reinterpret_cast<RankControl*>(control_starts_[static_cast<size_t>(rank)]);
}

void Comm::open_heaps() {
  const size_t own = static_cast<size_t>(rank_);
  if (options_.on_gpu && device_ == nullptr) {
    const int gpus = gpu::Driver::get().gpus();
    device_ = gpu::open_device(options_.gpu_by_rank ? (options_.gpu + rank_) % gpus : options_.gpu);
  }
  heaps_.resize(static_cast<size_t>(size_));
  controls_.resize(heaps_.size());
  heaps_[own] = heap_kind().create();
  heaps_[own]->grow(0, layout_.end);
  controls_[own] = heaps_[own];
  if (has_own_controls()) {
    controls_[own] = host_heaps().create();
    controls_[own]->grow(0, sizeof(RankControl));
  }
}

// Set-up. Each step that can fail on one rank alone is followed by an exchange that tells all, so
// that no rank succeeds alone and nobody waits for a rank that gave up.
void Comm::connect(boot::Exchange& exchange) {
  Card mine = {};
  try {
    layout_ = layout_for(size_, options_.max_memory);
    mesh_.emplace();
    open_heaps();
    std::snprintf(mine.host, sizeof mine.host, "%s", net::host_id().c_str());
    std::snprintf(mine.mesh_name, sizeof mine.mesh_name, "%s", mesh_->name().c_str());
    mine.process = net::process_id();
    mine.heap = heap(rank_).id();
    mine.control = controls_[static_cast<size_t>(rank_)]->id();
    if (device_ != nullptr)
      std::snprintf(mine.device, sizeof mine.device, "%s", device_->identity().c_str());
    mine.key_share = random_value<net::MeshKey>();
    mine.number_share = random_value<uint64_t>();
    sched_getaffinity(0, sizeof mine.cores, &mine.cores);
    std::snprintf(mine.agreement, sizeof mine.agreement, "%s", options_.agreement.c_str());
  } catch (...) {
    const Error error = current_error();
    mine.status = error.status();
    std::snprintf(mine.failure, sizeof mine.failure, "%s", error.what());
  }
  std::vector<Card> cards;
  for (const std::string& said :
       exchange.all_gather({reinterpret_cast<const char*>(&mine), sizeof mine})) {
    if (said.size() != sizeof(Card))
      fail(TW_ERROR_INTERNAL, "a rank's card has %zu bytes, not %zu", said.size(), sizeof(Card));
    std::memcpy(&cards.emplace_back(), said.data(), sizeof(Card));
  }
  for (int r = 0; r < size_; ++r)
    if (cards[static_cast<size_t>(r)].status != TW_OK)
      fail(static_cast<tw_status_t>(cards[static_cast<size_t>(r)].status), "rank %d: %s", r,
           cards[static_cast<size_t>(r)].failure);
  check_hosts(cards);
  check_agreement(cards);
  check_devices(cards);

  Terms terms = {};
  std::string failure;
  try {
    exchange_heaps(cards);
    set_up_waiting(cards);
    fill_view();
    watch_peers();
    terms = {TW_OK, max_blocks(), device_->is_host() && wait_.spins == 0};
  } catch (...) {
    const Error error = current_error();
    terms.status = error.status();
    failure = error.what();
  }
  const std::string said(reinterpret_cast<const char*>(&terms), sizeof terms);
  adopt_terms(exchange.all_gather(said + failure));
  control_ = std::make_unique<Control>(*this);
  allocator_.add_segment(heap(rank_).segment_bytes(0), layout_.end);
  heap_segments_.push_back(add_segment(heap_starts_));
  check();  // a peer may have died meanwhile
  TW_LOGF(TW_LOG_INFO, "%s: rank %d of %d", options_.name.c_str(), rank_, size_);
}

/// What every rank must know of the others: kernels have as many blocks on all ranks, and the
/// choice of algorithm is made alike, however the ranks are bound.
void Comm::adopt_terms(const std::vector<std::string>& said) {
  for (size_t r = 0; r < said.size(); ++r) {
    Terms terms;
    std::memcpy(&terms, said[r].data(), sizeof terms);
    if (terms.status != TW_OK)
      fail(static_cast<tw_status_t>(terms.status), "rank %zu: %s", r,
           said[r].c_str() + sizeof terms);
    set_max_blocks(std::min(max_blocks(), terms.blocks));
    more_ranks_than_cores_ |= terms.shares_cores != 0;
  }
}

void Comm::check_hosts(const std::vector<Card>& cards) const {
  for (int r = 0; r < size_; ++r)
    if (std::strcmp(cards[0].host, cards[static_cast<size_t>(r)].host) != 0)
      fail(TW_ERROR_UNREACHABLE,
           "ranks 0 and %d cannot share memory: rank 0 is on [%s], rank %d on [%s]", r,
           cards[0].host, r, cards[static_cast<size_t>(r)].host);
}

/// Settings that must be equal. (boot::join has compared them already; children have not joined.)
void Comm::check_agreement(const std::vector<Card>& cards) const {
  for (int r = 1; r < size_; ++r) {
    std::istringstream first(cards[0].agreement), other(cards[static_cast<size_t>(r)].agreement);
    std::string a, b;
    while (std::getline(first, a) && std::getline(other, b))
      if (a != b)
        fail(TW_ERROR_MISMATCH,
             "settings must be equal on all ranks: rank 0 has %s, rank %d has %s", a.c_str(), r,
             b.c_str());
  }
}

/// Launches on one GPU run one after the other: two ranks there would wait for each other for ever.
void Comm::check_devices(const std::vector<Card>& cards) const {
  for (int r = 1; r < size_; ++r)
    for (int s = 0; s < r; ++s) {
      const char* const device = cards[static_cast<size_t>(r)].device;
      if (*device != '\0' && std::strcmp(device, cards[static_cast<size_t>(s)].device) == 0)
        fail(TW_ERROR_UNSUPPORTED,
             "ranks %d and %d are on the same GPU (%s); valid: a GPU for each rank "
             "(config.device.ordinal; with TW_DEVICE_KIND=gpu ranks take one after the other)",
             s, r, device);
    }
}

void Comm::exchange_heaps(const std::vector<Card>& cards) {
  const Deadline deadline(options_.setup_timeout_ms);
  net::MeshKey key = {};
  std::vector<std::string> names;
  for (int r = 0; r < size_; ++r) {
    const Card& card = cards[static_cast<size_t>(r)];
    for (size_t i = 0; i < key.size(); ++i) key[i] ^= card.key_share[i];
    unique_number_ ^= card.number_share;
    const bool same = card.process == net::process_id();
    same_process_.push_back(same);
    one_process_ &= same;
    names.emplace_back(same ? "" : card.mesh_name);
  }
  mesh_->connect(rank_, names, key, deadline);
  for (int r = 0; r < size_; ++r) {
    if (r == rank_) continue;
    const auto found = [&](Heaps& heaps, uint64_t id) {
      std::shared_ptr<Heap> heap = same_process(r) ? heaps.find(id) : heaps.adopt(id);
      if (heap == nullptr) fail(TW_ERROR_PEER_LOST, "rank %d left during set-up", r);
      return heap;
    };
    const Card& card = cards[static_cast<size_t>(r)];
    std::shared_ptr<Heap>& heap = heaps_[static_cast<size_t>(r)];
    heap = found(heap_kind(), card.heap);
    controls_[static_cast<size_t>(r)] =
        has_own_controls() ? found(host_heaps(), card.control) : heap;
  }
  pass_segment(heaps_, 0, deadline);
  if (has_own_controls()) pass_segment(controls_, 0, deadline);
  for (int r = 0; r < size_; ++r) {
    heap(r).grow(0, layout_.end);
    if (has_own_controls()) controls_[static_cast<size_t>(r)]->grow(0, sizeof(RankControl));
  }
}

/// Owners have made segment `index`; processes pass each other the files that they need to map it.
void Comm::pass_segment(std::vector<std::shared_ptr<Heap>>& heaps, int index,
                        const Deadline& deadline) {
  const Heap& own = *heaps[static_cast<size_t>(rank_)];
  if (!own.passes_file(index)) return;
  for (int r = 0; r < size_; ++r)
    if (!same_process(r)) mesh_->send_fd(r, own.file(index));
  for (int r = 0; r < size_; ++r)
    if (!same_process(r))
      heaps[static_cast<size_t>(r)]->receive(index, mesh_->receive_fd(r, deadline));
}

void Comm::set_up_waiting(const std::vector<Card>& cards) {
  const cpu_set_t& own = cards[static_cast<size_t>(rank_)].cores;
  int sharing = 0;
  for (const Card& card : cards) {
    cpu_set_t both;
    CPU_AND(&both, &own, &card.cores);
    sharing += CPU_COUNT(&both) > 0 ? 1 : 0;
  }
  const int cores = std::max(1, CPU_COUNT(&own));
  const int workers = options_.workers != 0 ? options_.workers : std::max(1, cores / sharing);
  const bool crowded = sharing * workers > cores;
  if (device_ != nullptr) {
    device_->share(workers, crowded);
  } else {
    // A process with one rank is one device, whatever comms it makes; else each rank has its own.
    const bool alone = std::count(same_process_.begin(), same_process_.end(), 1) == 1;
    device_ = alone ? process_cpu_device(workers, crowded) : create_cpu_device(workers, crowded);
  }
  const int blocks = std::min(device_->is_host() ? workers : device_->blocks(), kMostBlocks);
  set_max_blocks(options_.max_blocks != 0 ? std::min(options_.max_blocks, blocks) : blocks);
  // With a core for everyone a waiting rank spins; else its core is wanted by those it waits for.
  wait_.spins = sharing > cores ? 0 : kSpins;
  wait_.timeout_ns = options_.timeout_ms * 1000000;
  wait_.slow = wait_slow;
  wait_.idle = wait_idle;
  wait_.mismatch = wait_mismatch;
  wait_.comm = this;
}

void Comm::fill_view() {
  for (const auto& heap : heaps_) heap_starts_.push_back(heap->segment(0));
  for (const auto& control : controls_) control_starts_.push_back(control->segment(0));
  wait_.abort = &control_block(rank_).abort;
  kernels_ = std::make_unique<KernelSide>(*device_, heap_starts_, &wait_);
  completed_ = kernels_->completed();
  view_ = kernels_->view(rank_, layout_);
  if (KernelSide::Meeting* const meeting = kernels_->meeting())
    kernel_watch_ = std::make_unique<KernelWatch>(*this, *meeting);
}

void Comm::watch_peers() {
  for (int peer = 0; peer < size_; ++peer)
    if (!same_process(peer))
      watches_.push_back(
          net::Monitor::watch(mesh_->socket(peer), [this, peer] { on_hang_up(peer); }));
}

uint64_t Comm::add_segment(const std::vector<char*>& at) {
  int index = segments_;
  if (!free_segments_.empty()) {
    index = free_segments_.back();
    free_segments_.pop_back();
  } else if (segments_ == kMaxSegments) {
    fail(TW_ERROR_OUT_OF_RESOURCES, "this comm has %d window segments already", kMaxSegments);
  } else {
    ++segments_;
  }
  kernels_->set_segment(index, at);
  return static_cast<uint64_t>(index + 1) << kLocationShift;
}

void Comm::remove_segment(uint64_t location) {
  free_segments_.push_back(static_cast<int>(location_segment(location)));
}

void Comm::add_heap_segment(size_t bytes) {
  const int index = allocator_.segments();
  tw_status_t status = TW_OK;
  std::string failure;
  const auto attempt = [&](auto step) {
    if (status != TW_OK) return;
    try {
      step();
    } catch (...) {
      const Error error = current_error();
      status = error.status();
      failure = error.what();
    }
  };
  // Owners grow their files first; then everybody maps everybody's.
  attempt([&] { heap(rank_).grow(index, bytes); });
  try {
    control().agree(ControlKind::kWindowCreate, status, failure);
    attempt([&] {
      pass_segment(heaps_, index, Deadline(options_.setup_timeout_ms));
      for (const auto& heap : heaps_) heap->grow(index, bytes);
    });
    control().agree(ControlKind::kWindowCreate, status, failure);
  } catch (...) {
    for (const auto& heap : heaps_) heap->shrink(index);
    throw;
  }
  std::vector<char*> at;
  for (const auto& heap : heaps_) at.push_back(heap->segment(index));
  heap_segments_.push_back(add_segment(at));
  allocator_.add_segment(bytes);
}

std::string Comm::live_names() const {
  constexpr size_t kNamed = 8;
  std::string names;
  size_t n = 0;
  for (const auto& [what, name] : live_) {
    if (n++ == kNamed) return names + text(" and %zu more", live_.size() - kNamed);
    names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

void Comm::add_range(const void* begin, size_t bytes, uint64_t location) {
  if (bytes == 0) return;
  const char* at = static_cast<const char*>(begin);
  const auto after =
      std::find_if(ranges_.begin(), ranges_.end(), [&](const Range& r) { return r.begin > at; });
  ranges_.insert(after, {at, at + bytes, location});
}

void Comm::remove_range(uint64_t location) {
  const auto found = std::find_if(ranges_.begin(), ranges_.end(),
                                  [&](const Range& r) { return r.location == location; });
  if (found != ranges_.end()) ranges_.erase(found);
}

uint64_t Comm::locate(const void* ptr, size_t bytes) const {
  const char* at = static_cast<const char*>(ptr);
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), at,
                                      [](const char* p, const Range& r) { return p < r.begin; });
  if (after == ranges_.begin()) return 0;
  const Range& range = *(after - 1);
  if (at >= range.end || bytes > static_cast<size_t>(range.end - at)) return 0;
  return range.location + static_cast<uint64_t>(at - range.begin);
}

}  // namespace tw
