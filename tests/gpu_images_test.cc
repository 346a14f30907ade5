// The GPU kernels' images in the library: present for every row where nvcc built them, else null.
#include "lib/device/gpu_images.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <string_view>

namespace {

using tw::GpuImage;

struct Row {
  const char* name;
  const GpuImage* images;
};

const Row kRows[] = {
#define TW_KERNEL_ROW(name, Args) {#name, tw::gpu_images::name},
#include "kernels/kernels.def"
#undef TW_KERNEL_ROW
};

#if defined(TW_BUILT_SM_90A)

TEST(GpuImages, CubinIsElf) {
  for (const Row& row : kRows) {
    const GpuImage& image = row.images[static_cast<int>(tw::GpuTarget::kSm90a)];
    ASSERT_NE(image.cubin, nullptr) << row.name;
    ASSERT_GT(image.cubin_bytes, 1000u) << row.name;
    EXPECT_EQ(std::memcmp(image.cubin,
                          "\x7f"
                          "ELF",
                          4),
              0)
        << row.name;
    const std::string_view bytes(static_cast<const char*>(image.cubin), image.cubin_bytes);
    EXPECT_NE(bytes.find(std::string(row.name) + "_entry"), std::string_view::npos) << row.name;
  }
}

TEST(GpuImages, PtxIsTextOfTheSameKernel) {
  for (const Row& row : kRows) {
    const char* ptx = row.images[static_cast<int>(tw::GpuTarget::kSm90a)].ptx;
    ASSERT_NE(ptx, nullptr) << row.name;
    const std::string_view text(ptx);  // ends at the NUL
    EXPECT_NE(text.find(".target sm_90a"), std::string_view::npos) << row.name;
    EXPECT_NE(text.find(".visible .entry " + std::string(row.name) + "_entry("),
              std::string_view::npos)
        << row.name;
    EXPECT_EQ(text.find_last_not_of("\n"), text.rfind('}')) << row.name << ": cut off";
  }
}

#else

TEST(GpuImages, NoneWithoutNvcc) {
  for (const Row& row : kRows) {
    const GpuImage& image = row.images[static_cast<int>(tw::GpuTarget::kSm90a)];
    EXPECT_EQ(image.cubin, nullptr) << row.name;
    EXPECT_EQ(image.cubin_bytes, 0u) << row.name;
    EXPECT_EQ(image.ptx, nullptr) << row.name;
  }
}

#endif

}  // namespace
