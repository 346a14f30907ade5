// The CUDA driver as the library finds it: a missing or too old one is a sentence.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "lib/device/gpu/driver.h"
#include "tests/runner/children.h"
#include "tests/runner/own_folder.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

/// What a comm on GPUs is refused with in a process that finds `driver`; "" for none at all.
int expect_refusal(const std::string& driver, const char* part) {
  if (!driver.empty() && ::dlopen(driver.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) return 2;
  const ScopedEnv on_gpus("TW_DEVICE_KIND", "gpu");
  tw_comm_t comm;
  const bool refused = tw_comm_create_all(1, nullptr, &comm) == TW_ERROR_UNSUPPORTED &&
                       std::string(tw_last_error()).find(part) != std::string::npos;
  if (!refused) std::fprintf(stderr, "%s\n", tw_last_error());
  const bool described = gpu::describe().find(part) != std::string::npos;
  // CPUs serve as ever.
  const ScopedEnv on_cpus("TW_DEVICE_KIND", "auto");
  if (tw_comm_create_all(1, nullptr, &comm) != TW_OK || tw_comm_destroy(comm) != TW_OK) return 3;
  return refused && described ? 0 : 1;
}

TEST(GpuDriver, AMissingOneIsASentence) {
  if (::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) != nullptr)
    GTEST_SKIP() << "this machine has a CUDA driver: a GPU";
  EXPECT_EQ(run_children(1, 1, [](int) { return expect_refusal("", "no CUDA driver"); })[0], 0);
}

TEST(GpuDriver, ATooOldOneIsASentence) {
  EXPECT_EQ(run_children(1, 1,
                         [](int) {
                           return expect_refusal(own_folder() + "/old_driver/libcuda.so.1",
                                                 "the CUDA driver is for CUDA 11.8; valid: 12.0");
                         })[0],
            0);
}

}  // namespace
}  // namespace tw::test
