// cuTensorMapEncodeTiled: the checks of its documentation, and a map in the simulator's format.
#include <cstring>

#include "lib/vgpu/driver/driver.h"
#include "lib/vgpu/sim/tensor_map.h"

using namespace tw::
    vgpu;  // NOLINT(google-build-using-namespace): entry points are global C functions

namespace {

int bytes_of(CUtensorMapDataType type) {
  switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
      return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
      return 2;
    case CU_TENSOR_MAP_DATA_TYPE_UINT64:
    case CU_TENSOR_MAP_DATA_TYPE_INT64:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT64:
      return 8;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32_FTZ:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ:
      return 4;
    default:
      return 0;
  }
}

int swizzle_of(CUtensorMapSwizzle swizzle) {
  switch (swizzle) {
    case CU_TENSOR_MAP_SWIZZLE_NONE:
      return 0;
    case CU_TENSOR_MAP_SWIZZLE_32B:
      return 1;
    case CU_TENSOR_MAP_SWIZZLE_64B:
      return 2;
    case CU_TENSOR_MAP_SWIZZLE_128B:
      return 3;
    default:
      return -1;
  }
}

bool is_valid(const TensorMap& map) {
  constexpr uint64_t kMostStride = uint64_t{1} << 40;
  if (map.address == 0 || map.address % 16 != 0) return false;
  for (int i = 0; i < map.rank; ++i) {
    const uint32_t step = map.element_stride(i);
    if (map.extents[i] == 0 || map.box[i] == 0 || map.box[i] > 256 || step == 0 || step > 8)
      return false;
    if (i > 0 && (map.strides[i - 1] % 16 != 0 || map.strides[i - 1] >= kMostStride)) return false;
  }
  const uint32_t inner = uint32_t{map.box[0]} * map.element_bytes;
  if (inner % 16 != 0) return false;
  return map.swizzle == 0 || inner <= (uint32_t{16} << map.swizzle);
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuTensorMapEncodeTiled(
    CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address,
    const cuuint64_t* extents, const cuuint64_t* strides, const cuuint32_t* box,
    const cuuint32_t* element_strides, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
    CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
  return enter([&](Driver& state, Machine::Lock&) {
    if (state.settings.capability < 90) return CUDA_ERROR_NOT_SUPPORTED;
    const int bytes = bytes_of(type), pattern = swizzle_of(swizzle);
    if (map == nullptr || reinterpret_cast<uintptr_t>(map) % 64 != 0 || rank == 0 || rank > 5 ||
        extents == nullptr || (rank > 1 && strides == nullptr) || box == nullptr ||
        element_strides == nullptr || bytes == 0 || pattern < 0 ||
        promotion > CU_TENSOR_MAP_L2_PROMOTION_L2_256B ||
        fill > CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA)
      return CUDA_ERROR_INVALID_VALUE;
    if (interleave != CU_TENSOR_MAP_INTERLEAVE_NONE) return CUDA_ERROR_NOT_SUPPORTED;
    TensorMap made{};
    made.mark = TensorMap::kMark;
    made.address = reinterpret_cast<uint64_t>(address);
    made.rank = static_cast<uint8_t>(rank);
    made.element_bytes = static_cast<uint8_t>(bytes);
    made.element_type = static_cast<uint8_t>(type);
    made.swizzle = static_cast<uint8_t>(pattern);
    made.nan_fill = fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE ? 0 : 1;
    for (cuuint32_t i = 0; i < rank; ++i) {
      if (extents[i] > UINT32_MAX || box[i] > 256 || element_strides[i] > 8)
        return CUDA_ERROR_INVALID_VALUE;
      made.extents[i] = static_cast<uint32_t>(extents[i]);
      made.box[i] = static_cast<uint16_t>(box[i]);
      made.element_strides |= element_strides[i] << (4 * i);
      if (i > 0) made.strides[i - 1] = strides[i - 1];
    }
    if (!is_valid(made)) return CUDA_ERROR_INVALID_VALUE;
    std::memset(map, 0, sizeof *map);
    std::memcpy(map, &made, sizeof made);
    return CUDA_SUCCESS;
  });
}

}  // extern "C"
