// `make tune`: measures every algorithm of the collectives on this machine and writes its choice
// table, a file of lib/coll/tuning. Ranks are threads, bound to a core each where there are enough.
//
//   build/perf/tune FILE [seconds]     a budget for the whole run, 240 by default
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "lib/coll/choice.h"
#include "perf/runner/backend.h"
#include "perf/runner/loops.h"
#include "perf/runner/measure.h"

namespace tw::perf {
namespace {

constexpr size_t kSmallest = 8, kLargest = 16 << 20;  // of a message between two ranks
constexpr size_t kLargestBuffer = 16 << 20;
constexpr int kBatches = 5;
constexpr double kBatchUs = 700;
constexpr int kRounds = 3;  // through all candidates at a size: the machine's pace drifts

struct Candidate {
  CollAlgo algo;
  StorePolicy store;
  size_t chunk;  // 0: no pipeline
};

std::vector<Candidate> candidates() {
  std::vector<Candidate> all = {{CollAlgo::kPacket, StorePolicy::kPlain, 0}};
  for (const StorePolicy store : {StorePolicy::kPlain, StorePolicy::kNonTemporal})
    all.push_back({CollAlgo::kSlot, store, 0});
  for (const size_t chunk : {2 << 10, 8 << 10, 32 << 10, 128 << 10})
    all.push_back({CollAlgo::kPull, StorePolicy::kPlain, chunk});
  for (const size_t chunk : {32 << 10, 128 << 10, 512 << 10})
    all.push_back({CollAlgo::kDirect, StorePolicy::kPlain, chunk});
  for (const size_t chunk : {32 << 10, 128 << 10})
    all.push_back({CollAlgo::kDirect, StorePolicy::kNonTemporal, chunk});
  return all;
}

/// The ops that are measured.
constexpr CollOp kTuned[] = {kAllReduce,     kReduce,  kBroadcast, kAllGather,
                             kReduceScatter, kScatter, kGather,    kAllToAll};

/// Uneven forms go by the lines of the even form that moves bytes in the same way.
constexpr CollOp kSameAs[][2] = {{kAllGatherV, kAllGather}, {kReduceScatterV, kReduceScatter}};

bool is_split(const Op& op) { return op.bytes(1, 1, 2) == 2; }

int cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

void bind_to(int nth) {
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &allowed) && nth-- == 0) CPU_SET(cpu, &one);
  // Unbound figures are noisier, not wrong.
  pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}

class Clock {
 public:
  explicit Clock(double seconds) : end_(now_us() + seconds * 1e6) {}
  double left() const { return (end_ - now_us()) * 1e-6; }

 private:
  double end_;
};

/// Runs `body(thread)` in `n` threads; an exception ends the program.
void run_threads(int n, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(n));
  for (int t = 0; t < n; ++t)
    threads.emplace_back([&, t] {
      try {
        body(t);
      } catch (const std::exception& e) {
        // The peers wait for this rank in vain: end the program, with the reason.
        std::fprintf(stderr, "tune: rank %d: %s\n", t, e.what());
        std::_Exit(1);
      }
    });
  for (std::thread& t : threads) t.join();
}

void force(const Candidate& c) {
  setenv("TW_COLL_ALGO", tw::name_of(c.algo), 1);
  setenv("TW_COLL_STORE", tw::name_of(c.store), 1);
  setenv("TW_COLL_CHUNK", std::to_string(c.chunk).c_str(), 1);
}

/// Microseconds of each candidate at each size; 0 = not measured.
struct Sweep {
  std::vector<size_t> sizes;
  std::vector<std::vector<double>> us;  // [size][candidate]
};

/// One rank's view of all candidates' comms.
class Rank {
 public:
  Rank(std::vector<std::unique_ptr<Backend>> backends, int n) : backends_(std::move(backends)) {
    for (auto& backend : backends_) {
      window_.emplace_back(*backend, kLargestBuffer, Memory::kWindow, 1);
      private_.emplace_back(*backend, kLargestBuffer, Memory::kPrivate, 1);
    }
    n_ = n;
  }

  /// Decisions depend on times only, which are the maximum over ranks: equal on all of them.
  Sweep sweep(const Op& op, double seconds) {
    const std::vector<Candidate> all = candidates();
    Sweep result;
    std::vector<double> last(all.size(), 1.0);
    const double begin = backends_[0]->max(now_us());
    const size_t parts = is_split(op) ? static_cast<size_t>(n_) : 1;
    for (size_t size = kSmallest; size <= kLargest && size * parts <= kLargestBuffer; size *= 2) {
      if (size > (64 << 10) && backends_[0]->max(now_us()) - begin > seconds * 1e6) break;
      std::vector<std::vector<double>> rounds(all.size());
      for (int round = 0; round < kRounds; ++round)
        for (size_t c = 0; c < all.size(); ++c) {
          if (!worth_trying(all, c, size, result)) continue;
          rounds[c].push_back(time(c, op, size * parts, last[c]));
          last[c] = rounds[c].back() * (round + 1 == kRounds ? 2 : 1);
        }
      std::vector<double> us;
      us.reserve(all.size());
      for (const std::vector<double>& times : rounds)
        us.push_back(times.empty() ? 0 : median(times));
      result.sizes.push_back(size);
      result.us.push_back(us);
    }
    return result;
  }

 private:
  /// Not: chunks that do not cut the message differently from a smaller one, and what was far
  /// behind at two sizes after having been good, or at large sizes.
  static bool worth_trying(const std::vector<Candidate>& all, size_t c, size_t size,
                           const Sweep& so_far) {
    if (all[c].algo == CollAlgo::kPacket && size > (4 << 10)) return false;
    if (all[c].algo == CollAlgo::kSlot && size > (512 << 10)) return false;
    if (all[c].store == StorePolicy::kNonTemporal && size < (2 << 10)) return false;
    for (size_t other = 0; other < c; ++other)
      if (all[other].algo == all[c].algo && all[other].store == all[c].store &&
          all[other].chunk >= size && all[other].chunk < all[c].chunk)
        return false;
    const size_t n = so_far.sizes.size();
    if (n < 2 || size < (16 << 10)) return true;
    int behind = 0;
    for (size_t s = n - 2; s < n; ++s) {
      double best = HUGE_VAL;
      for (const double us : so_far.us[s])
        if (us > 0) best = std::min(best, us);
      behind += so_far.us[s][c] > 1.6 * best;
    }
    return behind < 2;
  }

  /// In windows (reductions in place, as most are used) and out of place in private memory: the
  /// table serves both, and windows count twice, being what the library is for.
  double time(size_t candidate, const Op& op, size_t bytes, double guess_us) {
    Case c;
    c.op = &op;
    c.bytes = bytes;
    Loop loop;
    loop.iterations = static_cast<int>(std::clamp(kBatchUs / guess_us, 1.0, 500.0));
    loop.batches = kBatches;
    c.in_place = op.has_in_place() && op.reduces();
    const double windows = median(window_[candidate].time(c, loop, nullptr));
    c.in_place = false;
    const double own = median(private_[candidate].time(c, loop, nullptr));
    return std::cbrt(std::max(windows, 1e-3) * std::max(windows, 1e-3) * std::max(own, 1e-3));
  }

  std::vector<std::unique_ptr<Backend>> backends_;
  std::vector<Measure> window_, private_;
  int n_ = 0;
};

/// What a further line must gain, in logarithms: more than the noise, which is large where ranks
/// share cores.
double switch_cost(RanksClass ranks) { return ranks == RanksClass::kOver ? 0.2 : 0.06; }

/// The cheapest assignment of candidates to sizes, with a price for each change.
std::vector<size_t> choose(const Sweep& sweep, double change) {
  const size_t n = sweep.sizes.size(), k = sweep.us[0].size();
  std::vector<std::vector<double>> cost(n, std::vector<double>(k, HUGE_VAL));
  std::vector<std::vector<size_t>> from(n, std::vector<size_t>(k, 0));
  for (size_t s = 0; s < n; ++s) {
    size_t cheapest = 0;
    if (s > 0)
      for (size_t c = 1; c < k; ++c)
        if (cost[s - 1][c] < cost[s - 1][cheapest]) cheapest = c;
    for (size_t c = 0; c < k; ++c) {
      if (sweep.us[s][c] <= 0) continue;
      const double here = std::log(sweep.us[s][c]);
      if (s == 0) {
        cost[s][c] = here;
        continue;
      }
      const bool stay = cost[s - 1][c] <= cost[s - 1][cheapest] + change;
      from[s][c] = stay ? c : cheapest;
      cost[s][c] = here + (stay ? cost[s - 1][c] : cost[s - 1][cheapest] + change);
    }
  }
  std::vector<size_t> path(n);
  for (size_t c = 1; c < k; ++c)
    if (cost[n - 1][c] < cost[n - 1][path[n - 1]]) path[n - 1] = c;
  for (size_t s = n - 1; s > 0; --s) path[s - 1] = from[s][path[s]];
  return path;
}

std::vector<ChoiceLine> lines_of(CollOp op, RanksClass ranks, const Sweep& sweep) {
  const std::vector<Candidate> all = candidates();
  const std::vector<size_t> path = choose(sweep, switch_cost(ranks));
  std::vector<ChoiceLine> lines;
  for (size_t s = 0; s < path.size(); ++s) {
    const bool last = s + 1 == path.size();
    if (!last && path[s + 1] == path[s]) continue;
    const Candidate& c = all[path[s]];
    const size_t up_to = last ? SIZE_MAX : sweep.sizes[s] + sweep.sizes[s] / 2;
    lines.push_back({op, ranks, up_to, c.algo, c.store, c.chunk});
  }
  return lines;
}

void print_sweep(const char* op, int n, RanksClass ranks, const Sweep& sweep) {
  const std::vector<Candidate> all = candidates();
  const std::vector<size_t> path = choose(sweep, switch_cost(ranks));
  std::printf("%s, %d ranks, us (chosen: *)\n%10s", op, n, "bytes");
  for (const Candidate& c : all)
    std::printf(" %6s/%c%-4zu", tw::name_of(c.algo), *tw::name_of(c.store), c.chunk >> 10);
  std::printf("\n");
  for (size_t s = 0; s < sweep.sizes.size(); ++s) {
    std::printf("%10zu", sweep.sizes[s]);
    for (size_t c = 0; c < all.size(); ++c) {
      if (sweep.us[s][c] > 0)
        std::printf(" %11.2f%c", sweep.us[s][c], path[s] == c ? '*' : ' ');
      else
        std::printf(" %11s ", "-");
    }
    std::printf("\n");
  }
  std::fflush(stdout);
}

/// Measures all ops with `n` ranks; the lines of `ranks`.
std::vector<ChoiceLine> tune_class(RanksClass ranks, int n, double seconds) {
  const Clock clock(seconds);
  std::vector<std::vector<std::unique_ptr<Backend>>> backends(static_cast<size_t>(n));
  BackendOptions options;
  options.threads = n;
  for (const Candidate& c : candidates()) {
    force(c);
    backend_start(n);  // a new place to meet
    run_threads(
        n, [&](int t) { backends[static_cast<size_t>(t)].push_back(backend_join(options, t)); });
  }
  std::vector<ChoiceLine> lines;
  run_threads(n, [&](int t) {
    if (n <= cores()) bind_to(t);
    Rank rank(std::move(backends[static_cast<size_t>(t)]), n);
    size_t left = std::size(kTuned);
    for (const CollOp op : kTuned) {
      const Sweep sweep = rank.sweep(*find_op(name_of(op)), clock.left() / left--);
      if (t != 0) continue;
      print_sweep(name_of(op), n, ranks, sweep);
      const std::vector<ChoiceLine> more = lines_of(op, ranks, sweep);
      lines.insert(lines.end(), more.begin(), more.end());
    }
  });
  return lines;
}

/// Lines for ops that are not measured: uneven forms, barrier.
void add_derived(RanksClass ranks, std::vector<ChoiceLine>* lines) {
  std::vector<ChoiceLine> more;
  for (const auto& same : kSameAs)
    for (ChoiceLine line : *lines)
      if (line.op == same[1] && line.ranks == ranks) {
        line.op = same[0];
        more.push_back(line);
      }
  for (const ChoiceLine& line : this_machine().lines)
    if (line.ranks == ranks && (line.op == kAllToAllV || line.op == kBarrier)) more.push_back(line);
  lines->insert(lines->end(), more.begin(), more.end());
}

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown CPU";
}

std::string today() {
  char text[32];
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%d", &parts);
  return text;
}

void write_file(const char* path, const std::vector<ChoiceLine>& lines) {
  FILE* file = std::fopen(path, "w");
  if (file == nullptr) throw std::runtime_error(std::string("cannot write ") + path);
  const Machine& m = this_machine();
  std::fprintf(file,
               "// Measured by `make tune`.\n"
               "TW_MACHINE(%s, \"%s\", %d, %d, %d,\n           \"tuned %s on %s, %d cores\")\n",
               m.name, m.vendor, m.family, m.first_model, m.last_model, today().c_str(),
               cpu_model().c_str(), cores());
  for (const ChoiceLine& line : lines)
    std::fprintf(file, "TW_CHOICE(%s, %s, %zu, %s, %s, %zu)\n", tw::name_of(line.op),
                 tw::name_of(line.ranks), line.up_to == SIZE_MAX ? 0 : line.up_to,
                 tw::name_of(line.algo), tw::name_of(line.store), line.chunk);
  std::fclose(file);
}

int tune(const char* path, double seconds) {
  std::vector<ChoiceLine> lines;
  const struct {
    RanksClass ranks;
    int n;
    double share;
  } classes[] = {{RanksClass::kTwo, cores() >= 2 ? 2 : 0, 0.45},
                 {RanksClass::kFits, cores() >= 3 ? std::min(cores(), 8) : 0, 0.25},
                 {RanksClass::kOver, std::min(2 * cores(), 64), 0.3}};
  for (const auto& c : classes) {
    std::vector<ChoiceLine> more;
    if (c.n != 0) {
      more = tune_class(c.ranks, c.n, seconds * c.share);
      add_derived(c.ranks, &more);
    } else {
      std::printf("class \"%s\" needs more cores: its lines stay\n", tw::name_of(c.ranks));
      for (const ChoiceLine& line : this_machine().lines)
        if (line.ranks == c.ranks) more.push_back(line);
    }
    lines.insert(lines.end(), more.begin(), more.end());
  }
  write_file(path, lines);
  std::printf("%s: %zu lines for %s (%s)\n", path, lines.size(), this_machine().name,
              cpu_description().c_str());
  return 0;
}

}  // namespace
}  // namespace tw::perf

int main(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') {
    std::fprintf(stderr, "usage: tune FILE [seconds]\n");
    return 2;
  }
  try {
    return tw::perf::tune(argv[1], argc > 2 ? std::atof(argv[2]) : 240);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "tune: %s\n", e.what());
    return 1;
  }
}
