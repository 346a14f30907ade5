// Stands for the tests of virtual GPUs where those are not built.
#include <gtest/gtest.h>

namespace {

TEST(VirtualGpu, IsBuilt) {
  GTEST_SKIP() << "virtual GPU not built: needs x86-64 and cuda.h of the CUDA toolkit";
}

}  // namespace
