#include "lib/vgpu/driver/driver.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <new>

#include "lib/vgpu/driver/report.h"
#include "lib/vgpu/race/detector.h"

namespace tw::vgpu {
namespace {

std::mutex starting;
Driver* started = nullptr;  // lives as long as the process: other threads may be inside

CUresult error_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::kIllegalAddress:
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    case FaultKind::kMisalignedAddress:
      return CUDA_ERROR_MISALIGNED_ADDRESS;
    case FaultKind::kIllegalInstruction:
      return CUDA_ERROR_ILLEGAL_INSTRUCTION;
    case FaultKind::kDeadlock:
      return CUDA_ERROR_LAUNCH_TIMEOUT;
    case FaultKind::kTrap:
    case FaultKind::kBadLaunch:
      return CUDA_ERROR_LAUNCH_FAILED;
  }
  return CUDA_ERROR_UNKNOWN;
}

MachineOptions options_of(const Settings& settings) {
  MachineOptions options;
  options.gpus = settings.gpus;
  options.sms = settings.sms;
  options.seed = static_cast<uint64_t>(settings.seed);
  options.scheduler = settings.scheduler;
  options.hang_seconds = settings.hang_seconds;
  options.late_engines = settings.engines == "late";
  return options;
}

/// How much was simulated in which time of this machine: nothing about a GPU's time.
void print_statistics() {
  const Machine::Lock lock(started->machine);
  const double seconds = started->machine.busy_seconds();
  const auto count = static_cast<double>(started->machine.thread_ops());
  std::fprintf(stderr, "tw_vgpu: %.0f thread-instructions in %.3f s, %.0f million/s\n", count,
               seconds, seconds > 0 ? count / seconds * 1e-6 : 0);
}

std::unique_ptr<Observer> detector_of(const Settings& settings) {
  if (settings.races == "off") return nullptr;
  return std::make_unique<Detector>(
      [settings](const std::string& text) { report(settings, "race", text); });
}

}  // namespace

Driver::Driver(const Settings& from)
    : settings(from),
      machine(options_of(from), detector_of(from)),
      allocated(static_cast<size_t>(from.gpus)),
      peer_access(static_cast<size_t>(from.gpus)) {
  const Machine::Lock lock(machine);
  for (int gpu = 0; gpu < settings.gpus; ++gpu) {
    primaries.push_back(std::make_unique<DriverContext>());
    primaries.back()->gpu = gpu;
    primaries.back()->is_primary = true;
    primaries.back()->default_stream = machine.make_stream(gpu, true, true);
  }
}

DriverStream* Driver::stream(CUstream handle) {
  if (handle != nullptr && handle != CU_STREAM_LEGACY && handle != CU_STREAM_PER_THREAD)
    return streams.find(handle);
  DriverContext* context = current_context();
  if (context == nullptr) return nullptr;
  const auto [at, is_new] = default_of_.try_emplace(context, nullptr);
  if (is_new) {
    default_streams_.push_back(std::make_unique<DriverStream>());
    at->second = default_streams_.back().get();
  }
  at->second->context = context;
  at->second->stream = context->default_stream;
  return at->second;
}

CUresult Driver::submit(DriverStream* stream, Recipe recipe) {
  if (stream->is_capturing)
    stream->captured.push_back(std::move(recipe));
  else
    machine.enqueue(stream->stream.get(), recipe());
  return CUDA_SUCCESS;
}

CUresult Driver::wait_idle(Machine::Lock& lock, Stream* stream) {
  machine.wait(lock, [&] { return machine.is_idle(*stream); });
  machine.host_learns(stream->known_launches);
  return fault_error();
}

CUresult Driver::fault_error() {
  const Fault* fault = machine.fault();
  if (fault == nullptr) return CUDA_SUCCESS;
  if (!is_fault_reported) report(settings, name_of(fault->kind()), fault->what());
  is_fault_reported = true;
  return error_of(fault->kind());
}

void Driver::drop(Physical* physical) {
  if (--physical->references > 0) return;
  for (const Physical::Binding& binding : physical->bindings) {
    ::munmap(binding.view, binding.bytes);
    drop(binding.memory);
  }
  if (!physical->is_multicast) allocated[static_cast<size_t>(physical->gpu)] -= physical->bytes;
  physicals.remove(physical);
}

Driver* driver() {
  const std::lock_guard<std::mutex> guard(starting);
  return started;
}

CUresult start_driver() {
  const std::lock_guard<std::mutex> guard(starting);
  if (started != nullptr) return CUDA_SUCCESS;
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::fprintf(stderr, "tw_vgpu: this processor has no AVX2 and FMA, which virtual GPUs need\n");
    return CUDA_ERROR_NO_DEVICE;
  }
  try {
    started = new Driver(read_settings());
    if (started->settings.statistics == "on") std::atexit(print_statistics);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tw_vgpu: %s\n", error.what());
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

std::vector<DriverContext*>& context_stack() {
  thread_local std::vector<DriverContext*> stack;
  return stack;
}

DriverContext* current_context() {
  const auto& stack = context_stack();
  return stack.empty() ? nullptr : stack.back();
}

CUresult enter(const std::function<CUresult(Driver&, Machine::Lock&)>& call,
               bool in_spite_of_fault) {
  Driver* state = driver();
  if (state == nullptr) return CUDA_ERROR_NOT_INITIALIZED;
  try {
    Machine::Lock lock(state->machine);
    const CUresult fault = in_spite_of_fault ? CUDA_SUCCESS : state->fault_error();
    return fault != CUDA_SUCCESS ? fault : call(*state, lock);
  } catch (const std::bad_alloc&) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tw_vgpu: %s\n", error.what());
    return CUDA_ERROR_UNKNOWN;
  }
}

CUresult enter_context(
    const std::function<CUresult(Driver&, Machine::Lock&, DriverContext&)>& call) {
  return enter([&](Driver& state, Machine::Lock& lock) {
    DriverContext* context = current_context();
    return context == nullptr ? CUDA_ERROR_INVALID_CONTEXT : call(state, lock, *context);
  });
}

}  // namespace tw::vgpu
