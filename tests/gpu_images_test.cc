// The GPU kernels' images in the library: present for every row where nvcc built them, else null.
#include "lib/device/gpu_images.h"

#include <gtest/gtest.h>

#include <iterator>
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
#include "kernels/program_kernels.def"
#include "kernels/tile_kernels.def"
#undef TW_KERNEL_ROW
};

struct Target {
  tw::GpuTarget target;
  const char* name;
};
const Target kTargets[] = {{tw::GpuTarget::kSm90a, "sm_90a"}, {tw::GpuTarget::kSm80, "sm_80"}};
static_assert(std::size(kTargets) == tw::kGpuTargets);

const GpuImage& image_of(const Row& row, const Target& target) {
  return row.images[static_cast<int>(target.target)];
}

#if defined(TW_BUILT_SM_90A) && defined(TW_BUILT_SM_80)

void expect_elf(const Row& row, const Target& target) {
  SCOPED_TRACE(std::string(row.name) + " for " + target.name);
  const GpuImage& image = image_of(row, target);
  ASSERT_NE(image.cubin, nullptr);
  ASSERT_GT(image.cubin_bytes, 1000u);
  const std::string_view bytes(static_cast<const char*>(image.cubin), image.cubin_bytes);
  EXPECT_EQ(bytes.substr(0, 4),
            "\x7f"
            "ELF");
  EXPECT_NE(bytes.find(std::string(row.name) + "_entry"), std::string_view::npos);
}

void expect_ptx(const Row& row, const Target& target) {
  SCOPED_TRACE(std::string(row.name) + " for " + target.name);
  ASSERT_NE(image_of(row, target).ptx, nullptr);
  const std::string_view text(image_of(row, target).ptx);  // ends at the NUL
  EXPECT_NE(text.find(std::string(".target ") + target.name), std::string_view::npos);
  EXPECT_NE(text.find(".visible .entry " + std::string(row.name) + "_entry("),
            std::string_view::npos);
  EXPECT_EQ(text.find_last_not_of("\n"), text.rfind('}')) << "cut off";
}

TEST(GpuImages, CubinIsElf) {
  for (const Row& row : kRows)
    for (const Target& target : kTargets) expect_elf(row, target);
}

TEST(GpuImages, PtxIsTextOfTheSameKernel) {
  for (const Row& row : kRows)
    for (const Target& target : kTargets) expect_ptx(row, target);
}

#else

TEST(GpuImages, NoneWithoutNvcc) {
  for (const Row& row : kRows)
    for (const Target& target : kTargets) {
      const GpuImage& image = image_of(row, target);
      EXPECT_EQ(image.cubin, nullptr) << row.name;
      EXPECT_EQ(image.cubin_bytes, 0u) << row.name;
      EXPECT_EQ(image.ptx, nullptr) << row.name;
    }
}

#endif

}  // namespace
