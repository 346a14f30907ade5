// Programs, but for what is declared of them: tilewire/program.h.
#include "lib/api/program.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "lib/api/group.h"
#include "lib/api/issue.h"
#include "lib/api/kernel.h"
#include "lib/coll/collectives.h"
#include "lib/device/kernels.h"
#include "lib/program/check.h"
#include "tilewire/kernels/table.h"

namespace tw::api {
namespace {

constexpr uint32_t kMostRows = 1 << 16;
constexpr size_t kMostRow = size_t{1} << 31;
constexpr size_t kMostScratch = size_t{1} << 32;

tw_program_config_t checked_config(const tw_program_config_t* config) {
  constexpr const char* kName = "tw_program_create";
  require(config, kName, "config");
  const tw_program_config_t c =
      versioned(config, tw_program_config_t TW_PROGRAM_CONFIG_INIT, "tw_program_config_t");
  require_range(c.rows, 1, kMostRows, kName, "config.rows");
  const auto at_most = [](const char* field, size_t value, size_t most) {
    if (value > most)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: config.%s = %zu; valid: 0 to %zu", kName, field, value,
           most);
  };
  at_most("row", c.row, kMostRow);
  at_most("scratch", c.scratch, kMostScratch);
  return c;
}

UserProgramKernel kernel_of(const Comm& comm, const tw_program_config_t& config) {
  const CpuTarget target = comm.device().target();
  if (config.kernel == nullptr) return {kernels::program.entry(target), config.row, config.scratch};
  check_kernel(config.kernel, sizeof(ProgramArgs), "the argument struct of a program",
               "tw_program_create");
  return {entry_of(*config.kernel, target, "tw_program_create"), config.row, config.scratch};
}

/// Windows of its tensors that are gone would be written to.
void check_windows(const ProgramHandle& handle) {
  for (const tw_window_t window : handle.windows) pin(window);
}

std::string described(const Program& program) {
  std::string words;
  for (size_t i = 0; i < program.instructions.size(); ++i) {
    const Instruction& instruction = program.instructions[i];
    words += program.name_of(static_cast<int>(i));
    for (const Access& access : instruction.accesses) {
      const Region& r = access.region;
      words += text("; %s %s", access.writes ? "writes" : "reads",
                    program.tensors[static_cast<size_t>(r.tensor)].name.c_str());
      if (r.device != instruction.device) words += text(" of device %d", r.device);
      words += text(" rows %zu + %zu columns %zu + %zu", r.row, r.rows, r.col, r.cols);
    }
    for (const Wait& wait : instruction.waits) words += text("; waits for signal %d", wait.counter);
    for (const int counter : instruction.raises) words += text("; raises signal %d", counter);
    words += "\n";
  }
  return words;
}

}  // namespace

void require_built(const UserProgram& program, const char* function) {
  if (!program.built())
    fail(TW_ERROR_INVALID_STATE, "%s: the program is not built; valid after tw_program_build",
         function);
}

void require_open(const UserProgram& program, const char* function) {
  if (program.built())
    fail(TW_ERROR_INVALID_STATE, "%s: the program is built; valid before tw_program_build only",
         function);
}

}  // namespace tw::api

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

tw_status_t tw_program_create(tw_comm_t comm, const tw_program_config_t* config,
                              tw_program_t* program) {
  return guard([&] {
    const CommInUse use(comm);
    Comm& c = *use;
    require_cpu(c, "tw_program_create");
    require(program, "tw_program_create", "program");
    const tw_program_config_t checked = checked_config(config);
    if (c.size() > kMaxFusedRanks)
      fail(TW_ERROR_UNSUPPORTED, "tw_program_create: a comm of %d ranks; supported: up to %d",
           c.size(), kMaxFusedRanks);
    auto place = programs.place();
    auto handle = std::make_unique<ProgramHandle>(c, checked.rows, kernel_of(c, checked),
                                                  checked.kernel != nullptr);
    c.add_live(handle.get(), text("a program of up to %u rows", checked.rows));
    *program = place.fill(std::move(handle));
  });
}

tw_status_t tw_program_destroy(tw_program_t program) {
  return guard([&] {
    group::refuse_call("tw_program_destroy");
    auto pinned = pin(program);
    ProgramHandle& handle = *pinned;
    Comm& comm = handle.program.comm();
    const InUse use(comm);
    comm.device().drain();  // queued launches use the program
    pinned.release();       // nobody else destroys it while `use` lives
    programs.erase(program);
    comm.remove_live(&handle);
    const std::unique_ptr<ProgramHandle> gone(&handle);
  });
}

tw_status_t tw_program_build(tw_program_t program) {
  return guard([&] {
    group::refuse_call("tw_program_build");
    const ProgramInUse p(program);
    require_open(*p, "tw_program_build");
    check_ready(p->comm(), nullptr);
    if (p->declaration().ops.empty())
      fail(TW_ERROR_INVALID_STATE, "tw_program_build: the program has no ops; valid: 1 or more");
    check_windows(p.handle());
    p->build(p->comm().collectives().table().choose(kAllReduce, 0).store);
  });
}

tw_status_t tw_program_check(tw_program_t program) {
  return guard([&] {
    const ProgramInUse p(program);
    require_built(*p, "tw_program_check");
    check_program(p->program());
  });
}

tw_status_t tw_program_launch(tw_program_t program, uint32_t rows, tw_stream_t stream) {
  return guard([&] {
    group::refuse_call("tw_program_launch");
    const ProgramInUse p(program);
    require_built(*p, "tw_program_launch");
    check_ready(p->comm(), stream);
    const uint32_t most = p->declaration().rows;
    require_range(rows, 0, most, "tw_program_launch", "rows");
    check_windows(p.handle());
    UserProgram& run = *p;
    const ProgramCall call = run.number(rows != 0 ? rows : most);
    if (stream == nullptr && run.comm().device().idle()) return run.run(call);
    issue_numbered(run.comm(), stream, [&run, call] {
      run.run(call);
      return TW_OK;
    });
  });
}

tw_status_t tw_program_get_counts(tw_program_t program, tw_program_counts_t* counts) {
  return guard([&] {
    const ProgramInUse p(program);
    require(counts, "tw_program_get_counts", "counts");
    require_built(*p, "tw_program_get_counts");
    tw_program_counts_t told = TW_PROGRAM_COUNTS_INIT;
    told.instructions = p->instructions();
    told.all_instructions = p->program().instructions.size();
    told.signals = p->program().counters.size();
    told.launches = p->comm().device().launches();
    told.bytes = p->bytes();
    answer(counts, told, "tw_program_counts_t");
  });
}

tw_status_t tw_program_describe(tw_program_t program, char* text, size_t bytes, size_t* needed) {
  return guard([&] {
    const ProgramInUse p(program);
    require(needed, "tw_program_describe", "needed");
    if (bytes != 0) require(text, "tw_program_describe", "text");
    require_built(*p, "tw_program_describe");
    answer_text(described(p->program()), text, bytes, needed);
  });
}

tw_status_t tw_program_set_tracing(tw_program_t program, int on) {
  return guard([&] {
    const ProgramInUse p(program);
    require_range(on, 0, 1, "tw_program_set_tracing", "on");
    p->comm().device().drain();
    p->set_tracing(on != 0);
  });
}

tw_status_t tw_program_write_trace(tw_program_t program, const char* path) {
  return guard([&] {
    group::refuse_call("tw_program_write_trace");
    const ProgramInUse p(program);
    require(path, "tw_program_write_trace", "path");
    require_built(*p, "tw_program_write_trace");
    check_ready(p->comm(), nullptr);
    p->write_trace(path);
  });
}
