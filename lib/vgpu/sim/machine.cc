#include "lib/vgpu/sim/machine.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <iterator>
#include <map>

namespace tw::vgpu {
namespace {

constexpr int kSlice = 256;               // turns between looks at the host's calls
constexpr uint64_t kQuietTurns = 20000;   // the least before a hang is looked for
constexpr uint64_t kMostResident = 4096;  // blocks of one launch

uint64_t monotonic() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

/// Adds to a sorted list.
void know(std::vector<uint64_t>* known, const std::vector<uint64_t>& more) {
  std::vector<uint64_t> both;
  std::set_union(known->begin(), known->end(), more.begin(), more.end(), std::back_inserter(both));
  *known = std::move(both);
}

}  // namespace

Machine::Machine(const MachineOptions& options, std::unique_ptr<Observer> observer)
    : options_(options),
      random_(options.seed),
      scheduler_(make_scheduler(options.scheduler, options.seed)),
      observer_(std::move(observer)),
      gpus_(static_cast<size_t>(options.gpus)),
      worker_([this] { work(); }) {}

Machine::~Machine() {
  {
    const Lock lock(*this);
    is_ending_ = true;
    changed_.notify_all();
  }
  worker_.join();
}

Machine::Lock::Lock(Machine& machine) : machine_(machine), lock_(machine.mutex_, std::defer_lock) {
  lock();
}

void Machine::Lock::lock() {
  machine_.waiting_.fetch_add(1, std::memory_order_relaxed);
  lock_.lock();
  machine_.waiting_.fetch_sub(1, std::memory_order_relaxed);
}

std::shared_ptr<Stream> Machine::make_stream(int gpu, bool is_default, bool is_blocking) {
  auto stream = std::make_shared<Stream>();
  stream->gpu = gpu;
  stream->is_default = is_default;
  stream->is_blocking = is_blocking;
  streams_.push_back(stream);
  return stream;
}

void Machine::forget_stream(const std::shared_ptr<Stream>& stream) {
  // Commands that are left still run; advance_streams drops the stream when they are done.
  stream->is_default = false;
  if (stream->commands.empty()) std::erase(streams_, stream);
}

void Machine::enqueue(Stream* stream, Command command) {
  if (fault_) return;
  command.ticket = ++tickets_;
  if (command.launch) {
    command.launch->id = ++launch_ids_;
    command.launch->known_floor = host_floor_;
    command.launch->known_launches = host_launches_;
  }
  stream->commands.push_back(std::move(command));
  changed_.notify_all();
}

bool Machine::wait(Lock& lock, const std::function<bool()>& condition) {
  // Not by a condition variable: one takes the lock again beside `waiting_`, and a worker that
  // never rests would not let it have it.
  while (!fault_ && !condition()) {
    const uint64_t seen = completions_.load(std::memory_order_relaxed);
    lock.unlock();
    completions_.wait(seen, std::memory_order_relaxed);
    lock.lock();
  }
  if (!is_busy(-1)) host_floor_ = launch_ids_;
  return !fault_;
}

void Machine::host_learns(const std::vector<uint64_t>& launches) {
  know(&host_launches_, launches);
  for (const uint64_t id : host_launches_)
    if (id == host_floor_ + 1) ++host_floor_;
  std::erase_if(host_launches_, [&](uint64_t id) { return id <= host_floor_; });
}

void Machine::host_learns_of(int gpu) {
  for (const auto& stream : streams_)
    if (stream->gpu == gpu) host_learns(stream->known_launches);
}

bool Machine::is_busy(int gpu) const {
  return std::any_of(streams_.begin(), streams_.end(), [&](const std::shared_ptr<Stream>& stream) {
    return (gpu < 0 || stream->gpu == gpu) && !stream->commands.empty();
  });
}

uint64_t Machine::now() const { return monotonic(); }

void Machine::make_ready(Warp* warp) {
  if (warp->is_queued || warp->is_done) return;
  warp->is_queued = true;
  ready_.push_back(warp);
}

void Machine::start_engine(Block* block, std::function<void()> finish) {
  if (block != nullptr) ++block->engines;
  engines_.push_back({std::move(finish), block});
}

// ---- The worker -----------------------------------------------------------------------------

void Machine::work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!is_ending_) {
    bool did = false;
    try {
      did = slice();
    } catch (const Fault& fault) {
      fail(fault);
    } catch (const std::exception& error) {
      fail(Fault(FaultKind::kIllegalInstruction, error.what()));
    }
    if (!did && !fault_) check_hang();
    if (!did && !is_ending_) changed_.wait(lock);
    if (waiting_.load(std::memory_order_relaxed) > 0) {
      lock.unlock();
      while (waiting_.load(std::memory_order_relaxed) > 0) std::this_thread::yield();
      lock.lock();
    }
  }
}

void Machine::fail(const Fault& fault) {
  if (fault_) return;
  fault_ = std::make_unique<Fault>(fault);
  ready_.clear();
  engines_.clear();
  for (Gpu& gpu : gpus_) gpu = Gpu();
  blocks_.clear();
  for (const auto& stream : streams_) stream->commands.clear();
  completions_.fetch_add(1, std::memory_order_relaxed);
  completions_.notify_all();
}

bool Machine::slice() {
  if (fault_) return false;
  bool did = advance_streams();
  const uint64_t begin = now();
  for (int turn = 0; turn < kSlice && (!ready_.empty() || !engines_.empty()); ++turn) {
    did = true;
    run_engines();
    if (!ready_.empty()) run_one();
    if (waiting_.load(std::memory_order_relaxed) > 0) break;
  }
  busy_ += now() - begin;
  if (did) check_hang();
  return did;
}

/// Finishes asynchronous operations: at random times or, if so wished, when nothing else goes on.
void Machine::run_engines() {
  if (engines_.empty()) return;
  const bool is_stuck = ready_.empty() || quiet_turns_ > ready_.size() * 4;
  if (!is_stuck && (options_.late_engines || random_.below(4) != 0)) return;
  const size_t chosen = random_.below(engines_.size());
  const Engine engine = std::move(engines_[chosen]);
  engines_.erase(engines_.begin() + static_cast<ptrdiff_t>(chosen));
  engine.finish();
  note_progress();
  if (engine.block != nullptr && --engine.block->engines == 0 && engine.block->live_warps == 0)
    drop_block(engine.block);
}

void Machine::run_one() {
  const size_t chosen = scheduler_->pick(ready_, random_);
  Warp* warp = ready_[chosen];
  const uint64_t ops_before = warp->thread_ops;
  const Step step = warp->execute(scheduler_->quantum(random_));
  thread_ops_ += warp->thread_ops - ops_before;
  if (step == Step::kBlocked || warp->is_done) {
    ready_[chosen] = ready_.back();
    ready_.pop_back();
    warp->is_queued = false;
  }
  if (progress_ != seen_progress_) {
    seen_progress_ = progress_;
    quiet_turns_ = 0;
  } else {
    ++quiet_turns_;
  }
  if (warp->is_done) {
    Block* block = warp->block;
    --block->cluster->live_warps;
    if (block->cluster->advance_if_complete() && observer_) observer_->cluster_barrier(block);
    if (--block->live_warps == 0)
      finish_block(block);
    else
      block->recheck_barriers();
  }
}

void Machine::finish_block(Block* block) {
  Launch* launch = block->launch;
  ++launch->done_blocks;
  Gpu& gpu = gpus_[static_cast<size_t>(launch->gpu)];
  gpu.used -= launch->block_cost;
  if (launch->is_done()) std::erase(gpu.launches, launch);
  if (observer_) observer_->block_exits(block);
  if (block->engines == 0) drop_block(block);
  note_progress();
  fill(static_cast<int>(&gpu - gpus_.data()));
}

void Machine::drop_block(Block* block) {
  if (observer_) observer_->block_ends(block);
  block->cluster->blocks[block->cluster_rank] = nullptr;
  auto& spare = spare_[block->storage->bytes()];
  spare.push_back(std::move(block->storage));
  blocks_.erase(block);
}

// ---- Streams --------------------------------------------------------------------------------

bool Machine::may_start(const Stream& stream, const Command& command) const {
  if (!stream.is_blocking && !stream.is_default) return true;
  return std::none_of(streams_.begin(), streams_.end(), [&](const std::shared_ptr<Stream>& other) {
    if (other.get() == &stream || other->gpu != stream.gpu || other->commands.empty()) return false;
    const bool is_ordered = stream.is_default ? other->is_blocking : other->is_default;
    return is_ordered && other->commands.front().ticket < command.ticket;
  });
}

bool Machine::advance_streams() {
  bool did = false;
  for (bool again = true; again;) {
    again = false;
    for (size_t i = 0; i < streams_.size(); ++i) {
      const std::shared_ptr<Stream> stream = streams_[i];
      while (!stream->commands.empty() && may_start(*stream, stream->commands.front()) &&
             advance(stream.get()))
        again = did = true;
    }
  }
  if (did) {
    std::erase_if(streams_, [](const std::shared_ptr<Stream>& stream) {
      return stream.use_count() == 1 && stream->commands.empty();
    });
    completions_.fetch_add(1, std::memory_order_relaxed);
    completions_.notify_all();
  }
  return did;
}

/// Moves the stream's first command on; true when it is done and gone.
bool Machine::advance(Stream* stream) {
  Command& command = stream->commands.front();
  switch (command.kind) {
    case Command::Kind::kWork:
      command.work();
      break;
    case Command::Kind::kRecord:
      command.event->completed = std::max(command.event->completed, command.number);
      command.event->nanoseconds = now();
      command.event->known_launches = stream->known_launches;
      break;
    case Command::Kind::kWait:
      if (command.event->completed < command.number) return false;
      know(&stream->known_launches, command.event->known_launches);
      break;
    case Command::Kind::kLaunch: {
      Launch* launch = command.launch.get();
      if (!launch->is_started) {
        launch->is_started = true;
        know(&launch->known_launches, stream->known_launches);
        gpus_[static_cast<size_t>(launch->gpu)].launches.push_back(launch);
        fill(launch->gpu);
      }
      if (!launch->is_done()) return false;
      know(&stream->known_launches, {launch->id});
      std::erase_if(stream->known_launches, [&](uint64_t id) { return id <= launch->known_floor; });
      break;
    }
  }
  stream->commands.pop_front();
  note_progress();
  return true;
}

/// Makes blocks of the GPU's launches resident, in the order of the launches, while there is room.
void Machine::fill(int index) {
  Gpu& gpu = gpus_[static_cast<size_t>(index)];
  const uint64_t room = static_cast<uint64_t>(options_.sms) * kSmUnits;
  for (Launch* launch : gpu.launches) {
    const uint64_t cluster = launch->cluster.product();
    while (launch->next_block < launch->blocks() &&
           launch->next_block - launch->done_blocks < kMostResident &&
           gpu.used + launch->block_cost * cluster <= room)
      add_blocks(launch, cluster);
  }
}

/// Adds a whole cluster: its blocks have neighbouring numbers in launches of one dimension.
void Machine::add_blocks(Launch* launch, uint64_t count) {
  const size_t bytes = storage_bytes(*launch);
  auto cluster = std::make_shared<Cluster>();
  for (uint64_t i = 0; i < count; ++i) {
    auto& spare = spare_[(bytes + 1023) / 1024 * 1024];
    std::unique_ptr<BlockStorage> storage;
    if (spare.empty()) {
      storage = std::make_unique<BlockStorage>(bytes);
    } else {
      storage = std::move(spare.back());
      spare.pop_back();
    }
    auto owned = make_block(this, launch, launch->next_block++, std::move(storage));
    Block* block = owned.get();
    block->id = ++block_ids_;
    block->observer = observer_.get();
    block->cluster_rank = static_cast<uint32_t>(i);
    block->cluster = cluster;
    cluster->blocks.push_back(block);
    cluster->live_warps += static_cast<uint32_t>(block->warps.size());
    gpus_[static_cast<size_t>(launch->gpu)].used += launch->block_cost;
    blocks_.emplace(block, std::move(owned));
    if (observer_) observer_->block_begins(block);
    for (Warp& warp : block->warps) make_ready(&warp);
  }
}

// ---- Hangs ----------------------------------------------------------------------------------

void Machine::check_hang() {
  if (blocks_.empty()) return;
  if (ready_.empty() && engines_.empty())
    throw Fault(FaultKind::kDeadlock, "every warp waits at a barrier:" + waiting_warps());
  if (quiet_turns_ < kQuietTurns) {
    quiet_since_ = 0;
    return;
  }
  if (quiet_since_ == 0) quiet_since_ = now();
  if (static_cast<double>(now() - quiet_since_) < options_.hang_seconds * 1e9) return;
  throw Fault(FaultKind::kDeadlock,
              "no warp has stored anything for a long time:" + waiting_warps());
}

/// The warps that are not done, those at the same op together.
std::string Machine::waiting_warps() const {
  struct Place {
    std::string first;
    int count = 0;
  };
  std::map<std::string, Place> places;
  for (const auto& [block, owned] : blocks_)
    for (const Warp& warp : block->warps) {
      if (warp.is_done) continue;
      Place& place =
          places[warp.program->where(warp.waiting_at != nullptr ? warp.pc - 1 : warp.yielded_at)];
      ++place.count;
      const std::string own = warp.place();
      if (place.first.empty() || own < place.first) place.first = own;
    }
  std::string text;
  for (const auto& [where, place] : places)
    text +=
        "\n  " + place.first +
        (place.count > 1 ? " and " + std::to_string(place.count - 1) + " more" : std::string()) +
        " at " + where;
  return text;
}

}  // namespace tw::vgpu
