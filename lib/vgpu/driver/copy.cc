// memcpy and memset of every form, in stream order.
#include <cstring>
#include <memory>

#include "lib/vgpu/driver/driver.h"

using namespace tw::
    vgpu;  // NOLINT(google-build-using-namespace): entry points are global C functions

namespace {

enum class Side : uint8_t { kDevice, kHost, kAny };

/// Whether [address, address + bytes) is memory of the driver's, as one allocation.
bool is_known(Driver& state, uint64_t address, size_t bytes) {
  const Memory& memory = state.machine.memory();
  // Neighbouring mappings of one reservation may be copied across.
  while (bytes > 0) {
    const Region* region = memory.find(address);
    if (region == nullptr || !region->replicas.empty()) return false;
    const size_t here = region->end - address;
    if (here >= bytes) return true;
    address += here;
    bytes -= here;
  }
  return true;
}

bool is_valid(Driver& state, uint64_t address, size_t bytes, Side side) {
  return side != Side::kDevice ? address != 0 : is_known(state, address, bytes);
}

/// One copy: `pageable` source memory may be changed as soon as the call returns.
CUresult copy(uint64_t to, Side to_side, uint64_t from, Side from_side, size_t bytes,
              CUstream handle, bool waits) {
  return enter_context([&](Driver& state, Machine::Lock& lock, DriverContext&) {
    DriverStream* stream = state.stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (bytes == 0) return CUDA_SUCCESS;
    if (!is_valid(state, to, bytes, to_side) || !is_valid(state, from, bytes, from_side))
      return CUDA_ERROR_INVALID_VALUE;
    if (waits && stream->is_capturing) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    auto* target = reinterpret_cast<void*>(to);
    const auto* source = reinterpret_cast<const void*>(from);
    std::shared_ptr<std::vector<uint8_t>> kept;
    if (!waits && !is_known(state, from, bytes)) {
      const auto* begin = static_cast<const uint8_t*>(source);
      kept = std::make_shared<std::vector<uint8_t>>(begin, begin + bytes);
    }
    state.submit(stream, [=] {
      Command command;
      command.work = [=] { std::memmove(target, kept ? kept->data() : source, bytes); };
      return command;
    });
    const std::shared_ptr<Stream> own = stream->stream;
    return waits ? state.wait_idle(lock, own.get()) : CUDA_SUCCESS;
  });
}

/// One side of a copy of rows.
struct Plane {
  uint64_t begin;
  size_t stride;
  bool is_host;

  static Plane of(CUmemorytype kind, const void* host, CUdeviceptr device, size_t stride, size_t x,
                  size_t y, size_t width) {
    const bool is_host = kind == CU_MEMORYTYPE_HOST;
    const uint64_t base = is_host ? reinterpret_cast<uint64_t>(host) : device;
    const size_t rows_apart = stride == 0 ? width : stride;
    return {base + y * rows_apart + x, rows_apart, is_host};
  }
  bool is_valid(Driver& state, size_t rows, size_t width) const {
    for (size_t i = 0; i < rows && !is_host; ++i)
      if (!is_known(state, begin + i * stride, width)) return false;
    return begin != 0 && stride >= width;
  }
};

bool is_linear(CUmemorytype kind) {
  return kind == CU_MEMORYTYPE_HOST || kind == CU_MEMORYTYPE_DEVICE ||
         kind == CU_MEMORYTYPE_UNIFIED;
}

CUresult copy_rows(const CUDA_MEMCPY2D* how, CUstream handle) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    DriverStream* stream = state.stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (how == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!is_linear(how->srcMemoryType) || !is_linear(how->dstMemoryType))
      return CUDA_ERROR_NOT_SUPPORTED;
    const size_t rows = how->Height, width = how->WidthInBytes;
    if (rows == 0 || width == 0) return CUDA_SUCCESS;
    const Plane from = Plane::of(how->srcMemoryType, how->srcHost, how->srcDevice, how->srcPitch,
                                 how->srcXInBytes, how->srcY, width);
    const Plane to = Plane::of(how->dstMemoryType, how->dstHost, how->dstDevice, how->dstPitch,
                               how->dstXInBytes, how->dstY, width);
    if (!from.is_valid(state, rows, width) || !to.is_valid(state, rows, width))
      return CUDA_ERROR_INVALID_VALUE;
    state.submit(stream, [=] {
      Command command;
      command.work = [=] {
        for (size_t i = 0; i < rows; ++i)
          std::memmove(reinterpret_cast<void*>(to.begin + i * to.stride),
                       reinterpret_cast<const void*>(from.begin + i * from.stride), width);
      };
      return command;
    });
    return CUDA_SUCCESS;
  });
}

template <class T>
CUresult fill(uint64_t address, T value, size_t count, CUstream handle, bool waits) {
  return enter_context([&](Driver& state, Machine::Lock& lock, DriverContext&) {
    DriverStream* stream = state.stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (count == 0) return CUDA_SUCCESS;
    if (address % sizeof(T) != 0 || count > SIZE_MAX / sizeof(T) ||
        !is_known(state, address, count * sizeof(T)))
      return CUDA_ERROR_INVALID_VALUE;
    state.submit(stream, [=] {
      Command command;
      command.work = [=] { std::fill_n(reinterpret_cast<T*>(address), count, value); };
      return command;
    });
    const std::shared_ptr<Stream> own = stream->stream;
    return waits && !stream->is_capturing ? state.wait_idle(lock, own.get()) : CUDA_SUCCESS;
  });
}

uint64_t number(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

}  // namespace

extern "C" {

CUresult CUDAAPI cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
  return copy(to, Side::kDevice, number(from), Side::kHost, bytes, nullptr, true);
}
CUresult CUDAAPI cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
  return copy(number(to), Side::kHost, from, Side::kDevice, bytes, nullptr, true);
}
CUresult CUDAAPI cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return copy(to, Side::kDevice, from, Side::kDevice, bytes, nullptr, true);
}
CUresult CUDAAPI cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return copy(to, Side::kAny, from, Side::kAny, bytes, nullptr, true);
}
CUresult CUDAAPI cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes,
                                      CUstream stream) {
  return copy(to, Side::kDevice, number(from), Side::kHost, bytes, stream, false);
}
CUresult CUDAAPI cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy(number(to), Side::kHost, from, Side::kDevice, bytes, stream, false);
}
CUresult CUDAAPI cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                                      CUstream stream) {
  return copy(to, Side::kDevice, from, Side::kDevice, bytes, stream, false);
}
CUresult CUDAAPI cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy(to, Side::kAny, from, Side::kAny, bytes, stream, false);
}
CUresult CUDAAPI cuMemcpyPeer(CUdeviceptr to, CUcontext, CUdeviceptr from, CUcontext,
                              size_t bytes) {
  return copy(to, Side::kDevice, from, Side::kDevice, bytes, nullptr, true);
}
CUresult CUDAAPI cuMemcpyPeerAsync(CUdeviceptr to, CUcontext, CUdeviceptr from, CUcontext,
                                   size_t bytes, CUstream stream) {
  return copy(to, Side::kDevice, from, Side::kDevice, bytes, stream, false);
}
CUresult CUDAAPI cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* how, CUstream stream) {
  return copy_rows(how, stream);
}
CUresult CUDAAPI cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
  return fill<uint8_t>(to, value, count, nullptr, true);
}
CUresult CUDAAPI cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t count) {
  return fill<uint16_t>(to, value, count, nullptr, true);
}
CUresult CUDAAPI cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t count) {
  return fill<uint32_t>(to, value, count, nullptr, true);
}
CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count,
                                 CUstream stream) {
  return fill<uint8_t>(to, value, count, stream, false);
}
CUresult CUDAAPI cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count,
                                  CUstream stream) {
  return fill<uint16_t>(to, value, count, stream, false);
}
CUresult CUDAAPI cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
  return fill<uint32_t>(to, value, count, stream, false);
}

}  // extern "C"
