// Starts N ranks of a program on this machine, without MPI: see --help.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "lib/cli/tw_run/cores.h"
#include "lib/cli/tw_run/guardian.h"
#include "lib/cli/tw_run/lines.h"
#include "tilewire.h"

extern char** environ;

namespace tw::run {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kGrace(2000);  // from SIGTERM to SIGKILL
constexpr int kStatusUsage = 2, kStatusTimeout = 124, kStatusCannotRun = 126, kStatusNotFound = 127;
constexpr int kForwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT, SIGTSTP};

struct Options {
  int ranks = 0;
  std::string bind = "none";
  double timeout_s = 0;  // 0: none
  bool keep_going = false;
  std::vector<std::string> command;
};

void say(const std::string& sentence) { write_all(STDERR_FILENO, "tw_run: " + sentence + "\n"); }

// "rank 3", "ranks 1, 2 and 5".
std::string name_ranks(const std::vector<int>& ranks) {
  std::string result = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (i > 0) result += i + 1 == ranks.size() ? " and " : ", ";
    result += std::to_string(ranks[i]);
  }
  return result;
}

struct Rank {
  pid_t pid = -1;  // and process group; -1 when it has ended
  int fds[2] = {-1, -1};
  Lines lines[2];

  explicit Rank(int rank) : lines{{rank, STDOUT_FILENO}, {rank, STDERR_FILENO}} {}
};

class Launcher {
 public:
  explicit Launcher(Options options) : options_(std::move(options)) {}
  int run();

 private:
  bool make_id(std::string* text);
  bool start_all(const std::string& id);
  bool start(int rank, const std::string& id);
  [[noreturn]] void become(int rank, const std::vector<char*>& environment, const int* fds,
                           int report);
  bool report_exec_error();
  void loop();
  void take_signal(int number);
  void reap();
  void ended(int rank, const siginfo_t& how);
  void forward(int number);
  void read_output(int rank, int stream);
  void end_all(int status);
  std::vector<int> alive() const;
  int wait_ms() const;

  Options options_;
  std::vector<char*> arguments_;  // the command, for exec
  const pid_t self_ = getpid();
  sigset_t old_mask_ = {};
  int signals_ = -1;
  Guardian guardian_;
  std::vector<Rank> ranks_;
  std::vector<cpu_set_t> cores_;
  int exec_errors_[2] = {-1, -1};
  int status_ = 0;        // of this program: that of the first rank that failed
  bool ending_ = false;   // SIGTERM was sent
  bool killing_ = false;  // SIGKILL was sent
  Clock::time_point kill_at_;
  Clock::time_point timeout_at_ = Clock::time_point::max();
  int interrupts_ = 0;
};

// The id is served by a thread of this process as long as the ranks need to come.
bool Launcher::make_id(std::string* text) {
  const char* variable = "TW_COMM_SETUP_TIMEOUT_MS";
  const char* value = std::getenv(variable);
  const std::string kept = value == nullptr ? "" : value;
  setenv(variable, "0", 1);
  tw_unique_id_t id;
  char buffer[TW_UNIQUE_ID_TEXT_BYTES];
  const bool good = tw_unique_id_create(&id) == TW_OK && tw_unique_id_to_text(&id, buffer) == TW_OK;
  if (value == nullptr)
    unsetenv(variable);
  else
    setenv(variable, kept.c_str(), 1);
  if (good)
    *text = buffer;
  else
    say(tw_last_error());
  return good;
}

// In the child: nothing here may allocate or lock, for this program has threads.
void Launcher::become(int rank, const std::vector<char*>& environment, const int* fds, int report) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != self_) _exit(kStatusNotFound);  // tw_run died before the line above
  if (rank > 0 || isatty(STDIN_FILENO)) {
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    if (null > STDERR_FILENO) close(null);
  }
  dup2(fds[0], STDOUT_FILENO);
  dup2(fds[1], STDERR_FILENO);
  if (!cores_.empty()) {
    const cpu_set_t& core = cores_[static_cast<size_t>(rank) % cores_.size()];
    sched_setaffinity(0, sizeof core, &core);
  }
  signal(SIGPIPE, SIG_DFL);
  sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
  execvpe(arguments_[0], arguments_.data(), environment.data());
  const int error = errno;
  [[maybe_unused]] const ssize_t written = write(report, &error, sizeof error);
  _exit(error == ENOENT ? kStatusNotFound : kStatusCannotRun);
}

bool Launcher::start(int rank, const std::string& id) {
  std::vector<std::string> own = {"TW_RANK=" + std::to_string(rank),
                                  "TW_WORLD_SIZE=" + std::to_string(options_.ranks),
                                  "TW_UNIQUE_ID=" + id};
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    bool replaced = false;
    for (const std::string& line : own)
      replaced = replaced || std::strncmp(*entry, line.c_str(), line.find('=') + 1) == 0;
    if (!replaced) environment.push_back(*entry);
  }
  for (std::string& line : own) environment.push_back(line.data());
  environment.push_back(nullptr);
  int out[2], err[2];
  if (pipe2(out, O_CLOEXEC) != 0) return false;
  if (pipe2(err, O_CLOEXEC) != 0) {
    close(out[0]);
    close(out[1]);
    return false;
  }
  const int child_ends[2] = {out[1], err[1]};
  ranks_.emplace_back(rank);
  Rank& started = ranks_.back();
  started.fds[0] = out[0];
  started.fds[1] = err[0];
  started.pid = fork();
  const int error = errno;
  if (started.pid == 0) become(rank, environment, child_ends, exec_errors_[1]);
  for (int stream = 0; stream < 2; ++stream) {
    close(child_ends[stream]);
    fcntl(started.fds[stream], F_SETFL, O_NONBLOCK);
  }
  errno = error;
  if (started.pid < 0) return false;
  setpgid(started.pid, started.pid);  // whoever is first
  guardian_.add(started.pid);
  return true;
}

bool Launcher::start_all(const std::string& id) {
  if (options_.bind == "core") {
    cores_ = cores_of_mask();
    if (static_cast<size_t>(options_.ranks) > cores_.size())
      say(std::to_string(options_.ranks) + " ranks share " + std::to_string(cores_.size()) +
          (cores_.size() == 1 ? " core" : " cores"));
  }
  if (pipe2(exec_errors_, O_CLOEXEC | O_NONBLOCK) != 0) return false;
  for (std::string& argument : options_.command) arguments_.push_back(argument.data());
  arguments_.push_back(nullptr);
  ranks_.reserve(static_cast<size_t>(options_.ranks));
  for (int rank = 0; rank < options_.ranks; ++rank)
    if (!start(rank, id)) {
      say("cannot start rank " + std::to_string(rank) + ": " + std::strerror(errno));
      end_all(1);
      break;
    }
  close(exec_errors_[1]);
  if (options_.timeout_s > 0)
    timeout_at_ =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(
                           std::chrono::duration<double>(std::min(options_.timeout_s, 1e9)));
  return true;
}

// True when a rank's program could not be started; all ranks run the same one.
bool Launcher::report_exec_error() {
  int error = 0;
  if (read(exec_errors_[0], &error, sizeof error) != sizeof error) return false;
  say("cannot run " + options_.command[0] + ": " + std::strerror(error));
  return true;
}

std::vector<int> Launcher::alive() const {
  std::vector<int> result;
  for (size_t rank = 0; rank < ranks_.size(); ++rank)
    if (ranks_[rank].pid > 0) result.push_back(static_cast<int>(rank));
  return result;
}

void Launcher::forward(int number) {
  for (const int rank : alive()) kill(-ranks_[static_cast<size_t>(rank)].pid, number);
}

// SIGTERM to all ranks, SIGKILL after kGrace.
void Launcher::end_all(int status) {
  if (status_ == 0) status_ = status;
  if (ending_) return;
  ending_ = true;
  kill_at_ = Clock::now() + kGrace;
  forward(SIGTERM);
  forward(SIGCONT);  // a stopped rank must see it
}

void Launcher::ended(int rank, const siginfo_t& how) {
  const bool by_signal = how.si_code != CLD_EXITED;
  const int status = by_signal ? 128 + how.si_status : how.si_status;
  if (status == 0 || ending_) return;
  if (report_exec_error()) {
    end_all(status);
    return;
  }
  const std::string what = by_signal ? std::string("was ended by signal ") +
                                           std::to_string(how.si_status) + " (" +
                                           strsignal(how.si_status) + ")"
                                     : "exited with status " + std::to_string(status);
  const std::vector<int> others = alive();
  if (options_.keep_going || others.empty()) {
    say("rank " + std::to_string(rank) + " " + what);
    if (status_ == 0) status_ = status;
    return;
  }
  say("rank " + std::to_string(rank) + " " + what + "; ending " + name_ranks(others));
  end_all(status);
}

void Launcher::reap() {
  for (;;) {
    siginfo_t how = {};
    // The dead rank keeps its number until it is reaped, so that its group's number is still its.
    if (waitid(P_ALL, 0, &how, WEXITED | WNOHANG | WNOWAIT) != 0 || how.si_pid == 0) return;
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
      if (ranks_[rank].pid != how.si_pid) continue;
      kill(-how.si_pid, SIGKILL);  // what the rank left behind
      guardian_.remove(how.si_pid);
      ranks_[rank].pid = -1;
      ended(static_cast<int>(rank), how);
    }
    waitpid(how.si_pid, nullptr, 0);
  }
}

void Launcher::take_signal(int number) {
  if (number == SIGCHLD) {
    reap();
    return;
  }
  forward(number);
  if (number == SIGTSTP) {
    raise(SIGSTOP);
  } else if (number == SIGINT || number == SIGTERM) {
    // Ranks may take their time to end after one; who asks again means it.
    if (++interrupts_ == 2) end_all(128 + number);
    if (interrupts_ > 2) forward(SIGKILL);
  }
}

void Launcher::read_output(int rank, int stream) {
  Rank& it = ranks_[static_cast<size_t>(rank)];
  char buffer[1 << 16];
  const ssize_t got = read(it.fds[stream], buffer, sizeof buffer);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  const bool read_by_somebody =
      got > 0 ? it.lines[stream].add(std::string_view(buffer, static_cast<size_t>(got)))
              : it.lines[stream].finish();
  if (!read_by_somebody) end_all(128 + SIGPIPE);
  if (got > 0) return;
  close(it.fds[stream]);
  it.fds[stream] = -1;
}

int Launcher::wait_ms() const {
  Clock::time_point next = timeout_at_;
  if (ending_ && !killing_) next = std::min(next, kill_at_);
  if (next == Clock::time_point::max()) return -1;
  const auto left = std::chrono::ceil<milliseconds>(next - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1000000));
}

void Launcher::loop() {
  while (!alive().empty()) {
    std::vector<pollfd> polled = {{signals_, POLLIN, 0}};
    std::vector<std::pair<int, int>> streams;
    for (size_t rank = 0; rank < ranks_.size(); ++rank)
      for (int stream = 0; stream < 2; ++stream)
        if (ranks_[rank].fds[stream] >= 0) {
          polled.push_back({ranks_[rank].fds[stream], POLLIN, 0});
          streams.emplace_back(static_cast<int>(rank), stream);
        }
    poll(polled.data(), polled.size(), wait_ms());
    for (size_t i = 0; i < streams.size(); ++i)
      if (polled[i + 1].revents != 0) read_output(streams[i].first, streams[i].second);
    signalfd_siginfo signal;
    while (read(signals_, &signal, sizeof signal) == sizeof signal)
      take_signal(static_cast<int>(signal.ssi_signo));
    if (!ending_ && Clock::now() >= timeout_at_ && !alive().empty()) {
      char seconds[32];
      std::snprintf(seconds, sizeof seconds, "%g", options_.timeout_s);
      say(std::string("the time of ") + seconds + " s is over; ending " + name_ranks(alive()) +
          " of " + std::to_string(options_.ranks));
      status_ = kStatusTimeout;
      end_all(kStatusTimeout);
    }
    if (Clock::now() >= timeout_at_) timeout_at_ = Clock::time_point::max();
    if (ending_ && !killing_ && Clock::now() >= kill_at_) {
      killing_ = true;
      forward(SIGKILL);
    }
  }
  // All have ended; what they wrote last may still be in the pipes.
  for (size_t rank = 0; rank < ranks_.size(); ++rank)
    for (int stream = 0; stream < 2; ++stream) {
      int waiting = 1;
      while (ranks_[rank].fds[stream] >= 0 && waiting > 0) {
        pollfd last = {ranks_[rank].fds[stream], POLLIN, 0};
        waiting = poll(&last, 1, 0);
        if (waiting > 0) read_output(static_cast<int>(rank), stream);
      }
      ranks_[rank].lines[stream].finish();
    }
}

int Launcher::run() {
  sigset_t handled;
  sigemptyset(&handled);
  sigaddset(&handled, SIGCHLD);
  for (const int number : kForwarded) sigaddset(&handled, number);
  sigprocmask(SIG_BLOCK, &handled, &old_mask_);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_DFL);  // where it is ignored there is nothing to wait for
  signals_ = signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
  std::string id;
  if (signals_ < 0 || !guardian_.start()) {
    say(std::string("cannot start: ") + std::strerror(errno));
    return 1;
  }
  if (!make_id(&id) || !start_all(id)) status_ = 1;
  loop();
  guardian_.finish();
  return status_;
}

class Usage : public CLI::Formatter {
  std::string make_usage(const CLI::App*, std::string) const override {
    return "Usage: tw_run -n N [options] program [arguments]\n";
  }
};

// -1: go on; else the status to end with.
int parse(int argc, char** argv, Options* options) {
  CLI::App app(
      "Starts N ranks of a program on this machine. Each gets TW_RANK, TW_WORLD_SIZE and\n"
      "TW_UNIQUE_ID, from which tw_comm_create_env makes a communicator. Lines that ranks write\n"
      "come out as \"[rank] line\". When a rank fails the others are ended: SIGTERM, and SIGKILL "
      "two\nseconds later. Status: 0, or that of the first rank that failed (128 + signal), or "
      "124\n"
      "when the time was over. Signals are passed on to the ranks; a second SIGINT or SIGTERM\n"
      "ends them. Rank 0 reads standard input unless that is a terminal.",
      "tw_run");
  app.formatter(std::make_shared<Usage>());
  app.prefix_command();
  app.add_option("-n", options->ranks, "number of ranks, 1 to 64")
      ->required()
      ->check(CLI::Range(1, TW_MAX_RANKS));
  app.add_option("--bind", options->bind, "core: rank i on the i-th core of the affinity mask")
      ->check(CLI::IsMember({"none", "core"}));
  app.add_option("--timeout", options->timeout_s, "end all ranks after so many seconds")
      ->check(CLI::Range(0.001, 1e9));
  app.add_flag("--keep-going", options->keep_going, "let the others go on when a rank fails");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    app.exit(help);
    return 0;
  } catch (const CLI::Error& error) {
    say(std::string(error.what()) + " (see tw_run --help)");
    return kStatusUsage;
  }
  options->command = app.remaining();
  std::vector<std::string>& command = options->command;
  const bool marked = !command.empty() && command[0] == "--";
  if (marked) command.erase(command.begin());
  if (!command.empty() && (marked || command[0][0] != '-')) return -1;
  say((command.empty() ? "there is no program to run" : "unknown option " + command[0]) +
      " (see tw_run --help)");
  return kStatusUsage;
}

}  // namespace
}  // namespace tw::run

int main(int argc, char** argv) {
  tw::run::Options options;
  const int status = tw::run::parse(argc, argv, &options);
  return status >= 0 ? status : tw::run::Launcher(std::move(options)).run();
}
