// Modules and libraries: PTX text becomes programs, variables get memory on the module's GPU.
#include <sys/mman.h>

#include <cstdio>
#include <cstring>

#include "lib/vgpu/driver/driver.h"
#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/ptx/error.h"

using namespace tw::
    vgpu;  // NOLINT(google-build-using-namespace): entry points are global C functions

namespace {

/// Where the caller wants to have what went wrong.
struct ErrorLog {
  char* text = nullptr;
  size_t room = 0;
};

ErrorLog error_log(unsigned count, const CUjit_option* options, void* const* values) {
  ErrorLog log;
  for (unsigned i = 0; options != nullptr && values != nullptr && i < count; ++i) {
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER) log.text = static_cast<char*>(values[i]);
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
      log.room = static_cast<size_t>(reinterpret_cast<uintptr_t>(values[i]));
  }
  return log;
}

void say(const ErrorLog& log, const std::string& sentence) {
  std::fprintf(stderr, "tw_vgpu: %s\n", sentence.c_str());
  if (log.text != nullptr && log.room > 0)
    std::snprintf(log.text, log.room, "%s", sentence.c_str());
}

bool is_binary(const void* image) {
  uint32_t mark = 0;
  std::memcpy(&mark, image, sizeof mark);
  constexpr uint32_t kElf = 0x464c457f, kFatbinary = 0xba55ed50, kWrapper = 0x466243b1;
  return mark == kElf || mark == kFatbinary || mark == kWrapper;
}

/// Whether code for `target` ("sm_90a") runs on the virtual GPUs: an "a" target on its own chip
/// only.
bool runs_here(std::string_view target, int capability) {
  int number = 0;
  size_t at = target.find('_');
  if (at == std::string_view::npos) return false;
  for (++at; at < target.size() && target[at] >= '0' && target[at] <= '9'; ++at)
    number = number * 10 + (target[at] - '0');
  return at < target.size() ? number == capability : number <= capability;
}

/// Gives the module's variables memory with their initial values.
void place_variables(Driver& state, DriverModule* module) {
  const auto& all = module->text->variables;
  size_t bytes = 0;
  for (const ptx::Variable& variable : all) {
    if (variable.space != ptx::Space::kGlobal && variable.space != ptx::Space::kConst) continue;
    if (variable.is_extern && variable.bytes == 0)
      throw ptx::Error(variable.line, "'" + std::string(variable.name) + "' is defined nowhere");
    bytes = (bytes + variable.align - 1) / variable.align * variable.align;
    module->variables[std::string(variable.name)] = {bytes, variable.bytes};
    bytes += variable.bytes;
  }
  if (bytes == 0) return;
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  module->storage = reinterpret_cast<uint64_t>(memory);
  module->storage_bytes = bytes;
  for (auto& [name, variable] : module->variables) variable.address += module->storage;
  for (const ptx::Variable& variable : all) {
    const auto at = module->variables.find(variable.name);
    if (at == module->variables.end() || variable.initial.empty()) continue;
    auto* to = reinterpret_cast<uint8_t*>(at->second.address);
    std::memcpy(to, variable.initial.data(), variable.initial.size());
    for (const ptx::Pointer& pointer : variable.pointers) {
      const auto target = module->variables.find(pointer.symbol);
      if (target == module->variables.end())
        throw ptx::Error(variable.line, "'" + std::string(pointer.symbol) + "' is no variable");
      const uint64_t address = target->second.address + static_cast<uint64_t>(pointer.addend);
      std::memcpy(to + pointer.offset, &address, sizeof address);
    }
  }
  Region region;
  region.begin = module->storage;
  region.end = module->storage + bytes;
  region.home = module->context->gpu;
  region.access[region.home] = Access::kReadWrite;
  region.origin = "the variables of a module on GPU " + std::to_string(region.home);
  state.machine.memory().add(std::move(region));
}

std::unique_ptr<DriverFunction> make_function(DriverModule* module, std::string_view name) {
  auto function = std::make_unique<DriverFunction>();
  function->module = module;
  function->program = decode(module->text, name);
  function->loaded.program = function->program.get();
  function->loaded.constants = function->program->constants;
  for (const Relocation& relocation : function->program->relocations) {
    const auto variable = module->variables.find(relocation.symbol);
    if (variable == module->variables.end())
      throw ptx::Error(0, "'" + std::string(relocation.symbol) + "' has no address");
    const uint64_t address = variable->second.address + static_cast<uint64_t>(relocation.addend);
    for (int lane = 0; lane < kLanes; ++lane)
      std::memcpy(function->loaded.constants.data() + (relocation.slot & ~1u) + lane * 8, &address,
                  sizeof address);
  }
  return function;
}

void unload(Driver& state, DriverModule* module) {
  for (const auto& [name, function] : module->functions) state.functions.erase(function.get());
  if (module->storage != 0) {
    state.machine.memory().remove(module->storage);
    ::munmap(reinterpret_cast<void*>(module->storage), module->storage_bytes);
  }
  state.modules.remove(module);
}

CUresult load(Driver& state, DriverContext& context, CUmodule* handle, const void* image,
              const ErrorLog& log) {
  if (handle == nullptr || image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (is_binary(image)) return CUDA_ERROR_NO_BINARY_FOR_GPU;
  auto owned = std::make_unique<DriverModule>();
  DriverModule* module = owned.get();
  module->context = &context;
  try {
    module->text = ptx::parse(static_cast<const char*>(image));
    if (!runs_here(module->text->target, state.settings.capability)) {
      say(log, "PTX for " + std::string(module->text->target) + " does not run on sm_" +
                   std::to_string(state.settings.capability));
      return CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
    place_variables(state, module);
    for (const ptx::Function& function : module->text->functions)
      if (function.is_entry && function.has_body)
        module->functions.emplace(function.name, make_function(module, function.name));
  } catch (const ptx::Error& error) {
    say(log, error.what());
    if (module->storage != 0) {
      state.machine.memory().remove(module->storage);
      ::munmap(reinterpret_cast<void*>(module->storage), module->storage_bytes);
    }
    return CUDA_ERROR_INVALID_PTX;
  }
  for (const auto& [name, function] : module->functions)
    state.functions.emplace(function.get(), function.get());
  *handle = reinterpret_cast<CUmodule>(state.modules.add(std::move(owned)));
  return CUDA_SUCCESS;
}

DriverFunction* find_function(Driver& state, const void* handle) {
  const auto at = state.functions.find(handle);
  return at == state.functions.end() ? nullptr : at->second;
}

CUresult get_function(Driver& state, DriverFunction** function, const void* handle,
                      const char* name) {
  if (function == nullptr || name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const DriverModule* module = state.modules.find(handle);
  if (module == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  const auto at = module->functions.find(std::string_view(name));
  if (at == module->functions.end()) return CUDA_ERROR_NOT_FOUND;
  *function = at->second.get();
  return CUDA_SUCCESS;
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned count,
                                    CUjit_option* options, void** values) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext& context) {
    return load(state, context, module, image, error_log(count, options, values));
  });
}

CUresult CUDAAPI cuModuleLoadData(CUmodule* module, const void* image) {
  return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}

CUresult CUDAAPI cuModuleLoad(CUmodule* module, const char* path) {
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::FILE* file = std::fopen(path, "rb");
  if (file == nullptr) return CUDA_ERROR_FILE_NOT_FOUND;
  std::string text;
  char piece[65536];
  for (size_t got; (got = std::fread(piece, 1, sizeof piece, file)) > 0;) text.append(piece, got);
  std::fclose(file);
  if (text.size() < 4) return CUDA_ERROR_INVALID_IMAGE;
  return cuModuleLoadDataEx(module, text.c_str(), 0, nullptr, nullptr);
}

CUresult CUDAAPI cuModuleUnload(CUmodule handle) {
  return enter_context([&](Driver& state, Machine::Lock& lock, DriverContext&) {
    DriverModule* module = state.modules.find(handle);
    if (module == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    state.machine.wait(lock, [&] { return !state.machine.is_busy(module->context->gpu); });
    unload(state, module);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    return get_function(state, reinterpret_cast<DriverFunction**>(function), module, name);
  });
}

CUresult CUDAAPI cuModuleGetGlobal_v2(CUdeviceptr* address, size_t* bytes, CUmodule handle,
                                      const char* name) {
  return enter_context([&](Driver& state, Machine::Lock&, DriverContext&) {
    const DriverModule* module = state.modules.find(handle);
    if (module == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const auto at = module->variables.find(std::string_view(name));
    if (at == module->variables.end()) return CUDA_ERROR_NOT_FOUND;
    if (address != nullptr) *address = at->second.address;
    if (bytes != nullptr) *bytes = at->second.bytes;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction handle) {
  return enter([&](Driver& state, Machine::Lock&) {
    const DriverFunction* function = find_function(state, handle);
    if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const Program& program = *function->program;
    switch (attribute) {
      case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *value = program.max_threads;
        return CUDA_SUCCESS;
      case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *value = static_cast<int>(program.shared_bytes);
        return CUDA_SUCCESS;
      case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
        *value = 0;
        return CUDA_SUCCESS;
      case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
        *value = static_cast<int>(program.local_bytes);
        return CUDA_SUCCESS;
      case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        *value = program.module->version;
        return CUDA_SUCCESS;
      case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
        *value = state.settings.capability;
        return CUDA_SUCCESS;
      case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *value = function->max_dynamic_shared;
        return CUDA_SUCCESS;
      default:
        return CUDA_ERROR_INVALID_VALUE;
    }
  });
}

CUresult CUDAAPI cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value) {
  return enter([&](Driver& state, Machine::Lock&) {
    DriverFunction* function = find_function(state, handle);
    if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    switch (attribute) {
      case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        if (value < 0 ||
            value + static_cast<int64_t>(function->program->shared_bytes) > kBlockShared)
          return CUDA_ERROR_INVALID_VALUE;
        function->max_dynamic_shared = value;
        return CUDA_SUCCESS;
      case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        return value >= -1 && value <= 100 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
      case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
        return value == 0 || value == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
      default:
        return CUDA_ERROR_INVALID_VALUE;
    }
  });
}

CUresult CUDAAPI cuFuncGetModule(CUmodule* module, CUfunction handle) {
  return enter([&](Driver& state, Machine::Lock&) {
    const DriverFunction* function = find_function(state, handle);
    if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (module == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *module = reinterpret_cast<CUmodule>(function->module);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuFuncGetName(const char** name, CUfunction handle) {
  return enter([&](Driver& state, Machine::Lock&) {
    const DriverFunction* function = find_function(state, handle);
    if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *name = function->program->name.c_str();
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuFuncGetParamInfo(CUfunction handle, size_t index, size_t* offset,
                                    size_t* bytes) {
  return enter([&](Driver& state, Machine::Lock&) {
    const DriverFunction* function = find_function(state, handle);
    if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    const auto& parameters = function->program->parameters;
    if (offset == nullptr || index >= parameters.size()) return CUDA_ERROR_INVALID_VALUE;
    *offset = parameters[index].offset;
    if (bytes != nullptr) *bytes = parameters[index].bytes;
    return CUDA_SUCCESS;
  });
}

}  // extern "C"
