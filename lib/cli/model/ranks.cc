#include "lib/cli/model/ranks.h"

#include <atomic>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <thread>
#include <vector>

#include "lib/cli/model/meeting.h"

namespace tw::cli {
namespace {

/// A launcher's variables.
struct Launcher {
  Place::By by;
  const char* rank;
  const char* size;
};
constexpr Launcher kLaunchers[] = {
    {Place::By::kTwRun, "TW_RANK", "TW_WORLD_SIZE"},
    {Place::By::kMpi, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {Place::By::kMpi, "PMI_RANK", "PMI_SIZE"},
};

int number_of(const char* variable, int least, int most) {
  const char* const given = std::getenv(variable);
  const std::string text = given == nullptr ? "" : given;
  const char* const end = text.data() + text.size();
  int value = 0;
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value < least || value > most)
    throw std::runtime_error(std::string(variable) + "=" + text +
                             "; valid: " + std::to_string(least) + " to " + std::to_string(most));
  return value;
}

cpp::Comm join(const tw_comm_config_t& config) {
  const Place place = find_place();
  tw_comm_t comm = nullptr;
  switch (place.by) {
    case Place::By::kAlone:
      cpp::check(tw_comm_create_all(1, &config, &comm));
      break;
    case Place::By::kTwRun:
      cpp::check(tw_comm_create_env(&config, &comm));
      break;
    case Place::By::kMpi:
      comm = meet(place.rank, place.size, config);
      break;
  }
  return cpp::Comm(comm);
}

/// Whether the rank was well.
bool run_rank(const std::string& program, tw_comm_t comm, const RankBody& body) {
  cpp::Model model;
  try {
    body(comm, model);
    return true;
  } catch (const cpp::Failure& failure) {
    tw_comm_abort(comm);
    // Who ended the comm has said why.
    if (failure.status() != TW_ERROR_ABORTED) say(program, failure.what());
  } catch (const std::exception& failure) {
    tw_comm_abort(comm);
    say(program, failure.what());
  }
  return false;
}

bool run_threads(const std::string& program, int threads, const tw_comm_config_t& config,
                 const RankBody& body) {
  const std::vector<cpp::Comm> comms = cpp::Comm::create_all(threads, &config);
  std::atomic<bool> good{true};
  const auto run = [&](const cpp::Comm& comm) {
    if (!run_rank(program, comm.get(), body)) good = false;
  };
  std::vector<std::thread> ranks;
  ranks.reserve(comms.size());
  for (size_t rank = 1; rank < comms.size(); ++rank)
    ranks.emplace_back([&run, &comm = comms[rank]] { run(comm); });
  run(comms[0]);  // in this thread, to which signals come
  for (std::thread& rank : ranks) rank.join();
  return good;
}

}  // namespace

void say(const std::string& program, const std::string& sentence) {
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %s\n", program.c_str(), sentence.c_str());
}

Place find_place() {
  for (const Launcher& launcher : kLaunchers) {
    if (std::getenv(launcher.rank) == nullptr || std::getenv(launcher.size) == nullptr) continue;
    Place place;
    place.by = launcher.by;
    place.size = number_of(launcher.size, 1, TW_MAX_RANKS);
    place.rank = number_of(launcher.rank, 0, place.size - 1);
    return place;
  }
  return {};
}

int run_ranks(const std::string& program, int threads, const tw_comm_config_t& config,
              const RankBody& body) {
  try {
    if (threads > 0) return run_threads(program, threads, config, body) ? 0 : 1;
    const cpp::Comm comm = join(config);
    return run_rank(program, comm.get(), body) ? 0 : 1;
  } catch (const std::exception& failure) {
    say(program, failure.what());
    return 1;
  }
}

}  // namespace tw::cli
