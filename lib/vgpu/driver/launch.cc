// Launches, and what fits on an SM.
#include <algorithm>
#include <cstring>

#include "lib/vgpu/driver/driver.h"

using namespace tw::
    vgpu;  // NOLINT(google-build-using-namespace): entry points are global C functions

namespace {

constexpr uint32_t kLargestCluster = 16;

struct Attributes {
  Dim3 cluster;
  bool is_cooperative = false;
};

/// Copies the arguments into the layout that the kernel's parameters have.
CUresult take_parameters(const Program& program, void** arguments, void** extra,
                         Parameters* parameters) {
  parameters->resize(program.parameter_bytes);
  if (arguments != nullptr && extra != nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (extra != nullptr) {
    const void* buffer = nullptr;
    size_t bytes = 0;
    for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
      if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER)
        buffer = extra[1];
      else if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE)
        bytes = *static_cast<size_t*>(extra[1]);
      else
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (buffer == nullptr || bytes > parameters->size()) return CUDA_ERROR_INVALID_VALUE;
    std::memcpy(parameters->data(), buffer, bytes);
    return CUDA_SUCCESS;
  }
  if (arguments == nullptr && !program.parameters.empty()) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < program.parameters.size(); ++i) {
    if (arguments[i] == nullptr) return CUDA_ERROR_INVALID_VALUE;
    std::memcpy(parameters->data() + program.parameters[i].offset, arguments[i],
                program.parameters[i].bytes);
  }
  return CUDA_SUCCESS;
}

CUresult check_shape(const DriverFunction& function, const Launch& launch) {
  const Program& program = *function.program;
  const Dim3& block = launch.block;
  const Dim3& grid = launch.grid;
  if (grid.product() == 0 || block.product() == 0 || grid.x > 2147483647u || grid.y > 65535 ||
      grid.z > 65535 || block.x > 1024 || block.y > 1024 || block.z > 64 || block.product() > 1024)
    return CUDA_ERROR_INVALID_VALUE;
  if (launch.dynamic_shared > static_cast<uint32_t>(function.max_dynamic_shared))
    return CUDA_ERROR_INVALID_VALUE;
  if (program.required_threads > 0 &&
      block.product() != static_cast<uint64_t>(program.required_threads))
    return CUDA_ERROR_INVALID_VALUE;
  if (block.product() > static_cast<uint64_t>(program.max_threads))
    return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  return CUDA_SUCCESS;
}

CUresult check_cluster(const Program& program, const Launch& launch) {
  const Dim3& cluster = launch.cluster;
  const uint64_t blocks = cluster.product();
  if (blocks == 0 || blocks > kLargestCluster) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
  if (program.cluster_blocks > 0 && blocks != static_cast<uint64_t>(program.cluster_blocks))
    return CUDA_ERROR_INVALID_CLUSTER_SIZE;
  if (launch.grid.x % cluster.x != 0 || launch.grid.y % cluster.y != 0 ||
      launch.grid.z % cluster.z != 0)
    return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

CUresult launch_kernel(Driver& state, const CUlaunchConfig& config, const Attributes& attributes,
                       CUfunction handle, void** arguments, void** extra) {
  const auto found = state.functions.find(handle);
  if (found == state.functions.end()) return CUDA_ERROR_INVALID_HANDLE;
  const DriverFunction& function = *found->second;
  DriverStream* stream = state.stream(config.hStream);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->context->gpu != function.module->context->gpu) return CUDA_ERROR_INVALID_CONTEXT;
  Launch launch;
  launch.loaded = &function.loaded;
  launch.gpu = stream->context->gpu;
  launch.grid = {config.gridDimX, config.gridDimY, config.gridDimZ};
  launch.block = {config.blockDimX, config.blockDimY, config.blockDimZ};
  launch.cluster = attributes.cluster;
  if (launch.cluster.product() == 1 && function.program->cluster_blocks > 1)
    launch.cluster.x = static_cast<uint32_t>(function.program->cluster_blocks);
  launch.dynamic_shared = config.sharedMemBytes;
  CUresult result = check_shape(function, launch);
  if (result == CUDA_SUCCESS) result = check_cluster(*function.program, launch);
  if (result == CUDA_SUCCESS)
    result = take_parameters(*function.program, arguments, extra, &launch.parameters);
  if (result != CUDA_SUCCESS) return result;
  const int fits = blocks_per_sm(*function.program, launch.block.product(), launch.dynamic_shared);
  if (fits == 0) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  launch.block_cost = kSmUnits / static_cast<uint64_t>(fits);
  const uint64_t room = static_cast<uint64_t>(fits) * static_cast<uint64_t>(state.settings.sms);
  if (attributes.is_cooperative && launch.blocks() > room)
    return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
  if (launch.cluster.product() > room) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
  return state.submit(stream, [launch] {
    Command command;
    command.kind = Command::Kind::kLaunch;
    command.launch = std::make_unique<Launch>(launch);
    return command;
  });
}

CUresult take_attributes(const CUlaunchConfig& config, Attributes* attributes) {
  if (config.numAttrs > 0 && config.attrs == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    const CUlaunchAttribute& attribute = config.attrs[i];
    switch (attribute.id) {
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        attributes->cluster = {attribute.value.clusterDim.x, attribute.value.clusterDim.y,
                               attribute.value.clusterDim.z};
        break;
      case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        attributes->is_cooperative = attribute.value.cooperative != 0;
        break;
      // A launch here begins when the one before it in the stream has ended, which is always legal.
      case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
      case CU_LAUNCH_ATTRIBUTE_PRIORITY:
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
      case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
      case CU_LAUNCH_ATTRIBUTE_IGNORE:
        break;
      default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
  }
  return CUDA_SUCCESS;
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function,
                                  void** arguments, void** extra) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
    Attributes attributes;
    const CUresult result = take_attributes(*config, &attributes);
    return result != CUDA_SUCCESS
               ? result
               : launch_kernel(state, *config, attributes, function, arguments, extra);
  });
}

CUresult CUDAAPI cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                unsigned grid_z, unsigned block_x, unsigned block_y,
                                unsigned block_z, unsigned shared, CUstream stream,
                                void** arguments, void** extra) {
  const CUlaunchConfig config{grid_x,  grid_y, grid_z, block_x, block_y,
                              block_z, shared, stream, nullptr, 0};
  return cuLaunchKernelEx(&config, function, arguments, extra);
}

CUresult CUDAAPI cuLaunchCooperativeKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                           unsigned grid_z, unsigned block_x, unsigned block_y,
                                           unsigned block_z, unsigned shared, CUstream stream,
                                           void** arguments) {
  CUlaunchAttribute attribute{};
  attribute.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
  attribute.value.cooperative = 1;
  const CUlaunchConfig config{grid_x,  grid_y, grid_z, block_x,    block_y,
                              block_z, shared, stream, &attribute, 1};
  return cuLaunchKernelEx(&config, function, arguments, nullptr);
}

CUresult CUDAAPI cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction handle,
                                                             int threads, size_t shared) {
  return enter([&](Driver& state, Machine::Lock&) {
    const auto found = state.functions.find(handle);
    if (found == state.functions.end()) return CUDA_ERROR_INVALID_HANDLE;
    if (blocks == nullptr || threads <= 0 || shared > kSmShared) return CUDA_ERROR_INVALID_VALUE;
    *blocks = blocks_per_sm(*found->second->program, static_cast<uint64_t>(threads),
                            static_cast<uint32_t>(shared));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks,
                                                                      CUfunction function,
                                                                      int threads, size_t shared,
                                                                      unsigned flags) {
  if (flags > CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE) return CUDA_ERROR_INVALID_VALUE;
  return cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, shared);
}

}  // extern "C"
