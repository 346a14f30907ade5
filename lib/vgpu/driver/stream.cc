// Streams, events, host functions.
#include "lib/vgpu/driver/driver.h"

using namespace tw::
    vgpu;  // NOLINT(google-build-using-namespace): entry points are global C functions

namespace {

CUresult make_stream(CUstream* handle, unsigned flags, int priority) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext& context) {
    if (handle == nullptr || (flags & ~unsigned{CU_STREAM_NON_BLOCKING}) != 0)
      return CUDA_ERROR_INVALID_VALUE;
    auto stream = std::make_unique<DriverStream>();
    stream->context = &context;
    stream->flags = flags;
    stream->priority = priority;
    stream->stream = state.machine.make_stream(context.gpu, false, flags == CU_STREAM_DEFAULT);
    *handle = reinterpret_cast<CUstream>(state.streams.add(std::move(stream)));
    return CUDA_SUCCESS;
  });
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuStreamCreate(CUstream* stream, unsigned flags) {
  return make_stream(stream, flags, 0);
}

CUresult CUDAAPI cuStreamCreateWithPriority(CUstream* stream, unsigned flags, int priority) {
  return make_stream(stream, flags, priority);
}

CUresult CUDAAPI cuStreamDestroy_v2(CUstream handle) {
  return enter(
      [&](Driver& state, Machine::Lock&) {
        DriverStream* stream = state.streams.find(handle);
        if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
        // What is queued still runs.
        state.machine.forget_stream(stream->stream);
        state.streams.remove(stream);
        return CUDA_SUCCESS;
      },
      true);
}

CUresult CUDAAPI cuStreamSynchronize(CUstream handle) {
  return enter_context([&](Driver& state, Machine::Lock& lock, DriverContext&) {
    DriverStream* stream = state.stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->is_capturing) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    const std::shared_ptr<Stream> kept = stream->stream;
    return state.wait_idle(lock, kept.get());
  });
}

CUresult CUDAAPI cuStreamQuery(CUstream handle) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    const DriverStream* stream = state.stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->is_capturing) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (!state.machine.is_idle(*stream->stream)) return CUDA_ERROR_NOT_READY;
    state.machine.host_learns(stream->stream->known_launches);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuStreamGetFlags(CUstream handle, unsigned* flags) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    const DriverStream* stream = state.stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *flags = stream->flags;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuStreamGetPriority(CUstream handle, int* priority) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    const DriverStream* stream = state.stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (priority == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *priority = stream->priority;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuStreamGetCtx(CUstream handle, CUcontext* context) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    const DriverStream* stream = state.stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *context = reinterpret_cast<CUcontext>(stream->context);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned flags) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    DriverStream* stream = state.stream(handle);
    const DriverEvent* event = state.events.find(event_handle);
    if (stream == nullptr || event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (flags != CU_EVENT_WAIT_DEFAULT && flags != CU_EVENT_WAIT_EXTERNAL)
      return CUDA_ERROR_INVALID_VALUE;
    return state.submit(stream, [of = event->event, number = event->event->recorded] {
      Command command;
      command.kind = Command::Kind::kWait;
      command.event = of;
      command.number = number;
      return command;
    });
  });
}

CUresult CUDAAPI cuLaunchHostFunc(CUstream handle, CUhostFn function, void* data) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    DriverStream* stream = state.stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
    return state.submit(stream, [function, data] {
      Command command;
      command.work = [function, data] { function(data); };
      return command;
    });
  });
}

CUresult CUDAAPI cuEventCreate(CUevent* handle, unsigned flags) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext& context) {
    const unsigned valid = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
    if (handle == nullptr || (flags & ~valid) != 0) return CUDA_ERROR_INVALID_VALUE;
    if ((flags & CU_EVENT_INTERPROCESS) != 0) return CUDA_ERROR_NOT_SUPPORTED;
    auto event = std::make_unique<DriverEvent>();
    event->context = &context;
    event->flags = flags;
    event->event = std::make_shared<Event>();
    *handle = reinterpret_cast<CUevent>(state.events.add(std::move(event)));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuEventDestroy_v2(CUevent handle) {
  return enter(
      [&](Driver& state, Machine::Lock&) {
        const DriverEvent* event = state.events.find(handle);
        if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
        state.events.remove(event);
        return CUDA_SUCCESS;
      },
      true);
}

CUresult CUDAAPI cuEventRecord(CUevent handle, CUstream stream_handle) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    DriverStream* stream = state.stream(stream_handle);
    const DriverEvent* event = state.events.find(handle);
    if (stream == nullptr || event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->context->gpu != event->context->gpu) return CUDA_ERROR_INVALID_HANDLE;
    return state.submit(stream, [of = event->event] {
      Command command;
      command.kind = Command::Kind::kRecord;
      command.event = of;
      command.number = ++of->recorded;
      return command;
    });
  });
}

CUresult CUDAAPI cuEventQuery(CUevent handle) {
  return enter([&](Driver& state, Machine::Lock&) {
    const DriverEvent* event = state.events.find(handle);
    if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (event->event->completed < event->event->recorded) return CUDA_ERROR_NOT_READY;
    state.machine.host_learns(event->event->known_launches);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuEventSynchronize(CUevent handle) {
  return enter([&](Driver& state, Machine::Lock& lock) {
    const DriverEvent* event = state.events.find(handle);
    if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    const std::shared_ptr<Event> kept = event->event;
    const uint64_t number = kept->recorded;
    state.machine.wait(lock, [&] { return kept->completed >= number; });
    state.machine.host_learns(kept->known_launches);
    return state.fault_error();
  });
}

CUresult CUDAAPI cuEventElapsedTime_v2(float* milliseconds, CUevent from, CUevent to) {
  return enter([&](Driver& state, Machine::Lock&) {
    const DriverEvent* first = state.events.find(from);
    const DriverEvent* last = state.events.find(to);
    if (first == nullptr || last == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (milliseconds == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (((first->flags | last->flags) & CU_EVENT_DISABLE_TIMING) != 0 ||
        first->event->recorded == 0 || last->event->recorded == 0)
      return CUDA_ERROR_INVALID_HANDLE;
    if (first->event->completed < first->event->recorded ||
        last->event->completed < last->event->recorded)
      return CUDA_ERROR_NOT_READY;
    *milliseconds = static_cast<float>((static_cast<double>(last->event->nanoseconds) -
                                        static_cast<double>(first->event->nanoseconds)) *
                                       1e-6);
    return CUDA_SUCCESS;
  });
}

// ---- Graphs: what one stream records, as a list ---------------------------------------------

CUresult CUDAAPI cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    DriverStream* stream = state.streams.find(handle);
    if (stream == nullptr) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (mode > CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_ERROR_INVALID_VALUE;
    if (stream->is_capturing) return CUDA_ERROR_ILLEGAL_STATE;
    stream->is_capturing = true;
    stream->captured.clear();
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* status) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    const DriverStream* stream = state.stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (status == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *status =
        stream->is_capturing ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuStreamEndCapture(CUstream handle, CUgraph* graph) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    DriverStream* stream = state.streams.find(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!stream->is_capturing) return CUDA_ERROR_ILLEGAL_STATE;
    auto made = std::make_unique<DriverGraph>();
    made->recipes = std::move(stream->captured);
    made->gpu = stream->context->gpu;
    stream->is_capturing = false;
    stream->captured.clear();
    *graph = reinterpret_cast<CUgraph>(state.graphs.add(std::move(made)));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuGraphInstantiateWithFlags(CUgraphExec* instance, CUgraph handle,
                                             unsigned long long flags) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    const DriverGraph* graph = state.graphs.find(handle);
    if (instance == nullptr || graph == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
    *instance = reinterpret_cast<CUgraphExec>(
        state.graph_instances.add(std::make_unique<DriverGraph>(*graph)));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    const DriverGraph* graph = state.graph_instances.find(handle);
    DriverStream* stream = state.stream(stream_handle);
    if (graph == nullptr || stream == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (graph->gpu != stream->context->gpu) return CUDA_ERROR_INVALID_VALUE;
    for (const Recipe& recipe : graph->recipes) state.submit(stream, recipe);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuGraphExecDestroy(CUgraphExec handle) {
  return enter(
      [&](Driver& state, Machine::Lock&) {
        const DriverGraph* graph = state.graph_instances.find(handle);
        if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
        state.graph_instances.remove(graph);
        return CUDA_SUCCESS;
      },
      true);
}

CUresult CUDAAPI cuGraphDestroy(CUgraph handle) {
  return enter(
      [&](Driver& state, Machine::Lock&) {
        const DriverGraph* graph = state.graphs.find(handle);
        if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
        state.graphs.remove(graph);
        return CUDA_SUCCESS;
      },
      true);
}

}  // extern "C"
