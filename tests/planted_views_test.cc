// As planted_test, for the device views (window_device.h, signal_device.h): their header is
// compiled here with every release left out, and each op's use to pass data on must be reported.
// The same uses with the releases in place: window_device_test.
#if defined(TW_SANITIZE_THREAD)

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "tests/runner/races.h"
#include "tests/support/kernel_ranks.h"

// The views' templates, in a namespace of their own, with other orders.
#undef TW_NS
#define TW_NS tw::planted
#pragma push_macro("__ATOMIC_RELEASE")
#pragma push_macro("__ATOMIC_ACQ_REL")
#undef __ATOMIC_RELEASE
#undef __ATOMIC_ACQ_REL
#define __ATOMIC_RELEASE __ATOMIC_RELAXED
#define __ATOMIC_ACQ_REL __ATOMIC_ACQUIRE
#include "tilewire/signal_device.h"
#pragma pop_macro("__ATOMIC_RELEASE")
#pragma pop_macro("__ATOMIC_ACQ_REL")

#include "tests/support/signal_memory.h"
#include "tests/support/view_uses.h"

namespace tw::test {
namespace {

using PlantedViews = Planted;

TEST_F(PlantedViews, Signal) { expect_race(planted::signal_passes_data, true); }
TEST_F(PlantedViews, Barrier) { expect_race(planted::barrier_passes_data, true); }
TEST_F(PlantedViews, FetchAdd) { expect_race(planted::fetch_add_passes_data, true); }
TEST_F(PlantedViews, CompareSwap) { expect_race(planted::compare_swap_passes_data, true); }
TEST_F(PlantedViews, LastBlock) { expect_race(planted::last_block_ends_a_launch, true); }

}  // namespace
}  // namespace tw::test

#endif  // TW_SANITIZE_THREAD
