// The choice table: which machine's lines apply, limits, forcing, agreement.
#include "lib/coll/choice.h"

#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

constexpr CommLayout kLayout = comm_layout(2, 4, 128, 2 << 10, 128 << 10, 1 << 20, 64 << 10);

ChoiceTable table(const Machine& machine, RanksClass ranks, const Forced& forced = {},
                  int max_blocks = 1) {
  return {machine, ranks, forced, kLayout, kCpuFraming, max_blocks};
}

TEST(Choice, MachineIsFoundByCpu) {
  EXPECT_STREQ(machine_of("GenuineIntel", 6, 143).name, "intel_spr");
  EXPECT_STREQ(machine_of("GenuineIntel", 6, 207).name, "intel_emr");
  EXPECT_STREQ(machine_of("AuthenticAMD", 25, 17).name, "amd_zen4");
  EXPECT_STREQ(machine_of("AuthenticAMD", 25, 1).name, "generic");  // Zen 3
  EXPECT_STREQ(machine_of("GenuineIntel", 6, 85).name, "generic");
  EXPECT_STREQ(machine_of("", 0, 0).name, "generic");
}

TEST(Choice, EveryMachineCoversEveryOpClassAndSize) {
  for (const Machine& machine : machines()) {
    EXPECT_STRNE(machine.origin, "");
    for (int ranks = 0; ranks < kRanksClasses; ++ranks)
      for (uint32_t op = 0; op < kCollectives; ++op) {
        size_t lines = 0, last = 0;
        for (const ChoiceLine& line : machine.lines)
          if (line.op == op && line.ranks == static_cast<RanksClass>(ranks)) {
            EXPECT_GT(line.up_to, last) << machine.name << " " << name_of(line.op);
            last = line.up_to;
            ++lines;
          }
        EXPECT_GT(lines, 0u) << machine.name << " " << name_of(static_cast<CollOp>(op));
        EXPECT_EQ(last, SIZE_MAX) << machine.name << " " << name_of(static_cast<CollOp>(op));
      }
  }
}

TEST(Choice, LinesApplyUpToAndIncludingTheirBytes) {
  const Machine machine{
      "m",
      "",
      0,
      0,
      0,
      "test",
      {{kAllReduce, RanksClass::kTwo, SIZE_MAX, CollAlgo::kDirect, StorePolicy::kNonTemporal, 4096},
       {kAllReduce, RanksClass::kTwo, 100, CollAlgo::kPacket, StorePolicy::kPlain, 0},
       {kAllReduce, RanksClass::kFits, SIZE_MAX, CollAlgo::kPull, StorePolicy::kPlain, 0}},
      {}};
  const ChoiceTable two = table(machine, RanksClass::kTwo);
  EXPECT_EQ(two.choose(kAllReduce, 0).algo, CollAlgo::kPacket);
  EXPECT_EQ(two.choose(kAllReduce, 100).algo, CollAlgo::kPacket);
  const Choice large = two.choose(kAllReduce, 101);
  EXPECT_EQ(large.algo, CollAlgo::kDirect);
  EXPECT_EQ(large.store, StorePolicy::kNonTemporal);
  EXPECT_EQ(large.chunk, 4096u);
  EXPECT_EQ(table(machine, RanksClass::kFits).choose(kAllReduce, 1).algo, CollAlgo::kPull);
}

TEST(Choice, ForcingHoldsWithinTheBuffers) {
  Forced forced;
  forced.algo_set = forced.store_set = true;
  forced.algo = CollAlgo::kPacket;
  forced.store = StorePolicy::kNonTemporal;
  forced.chunk = 64 << 10;
  forced.blocks = 4;
  const ChoiceTable t = table(machines().back(), RanksClass::kTwo, forced, 3);
  for (uint32_t op = 0; op < kCollectives; ++op) {
    const auto call = static_cast<CollOp>(op);
    const auto limit = [&](CollAlgo algo) {
      return message_limit(kLayout, kCpuFraming, algo, call);
    };
    if (call == kAllToAllV) {
      EXPECT_EQ(t.choose(call, 0).algo, CollAlgo::kDirect);
    } else {
      EXPECT_EQ(t.choose(call, limit(CollAlgo::kPacket)).algo, CollAlgo::kPacket);
      EXPECT_EQ(t.choose(call, limit(CollAlgo::kPacket) + 1).algo, CollAlgo::kSlot);
      EXPECT_EQ(t.choose(call, limit(CollAlgo::kSlot) + 1).algo, CollAlgo::kPull);
      EXPECT_EQ(t.choose(call, limit(CollAlgo::kPull) + 1).algo, CollAlgo::kDirect);
    }
    EXPECT_EQ(t.choose(call, 8).store, StorePolicy::kNonTemporal);
    EXPECT_EQ(t.choose(call, 8).chunk, size_t{64 << 10});
    EXPECT_EQ(t.choose(call, 8).blocks, 3);
  }
}

TEST(Choice, EnvironmentIsReadAndChecked) {
  EXPECT_FALSE(Forced::from_environment().algo_set);
  {
    const ScopedEnv algo("TW_COLL_ALGO", "slot"), store("TW_COLL_STORE", "nontemporal"),
        chunk("TW_COLL_CHUNK", "16K"), blocks("TW_COLL_BLOCKS", "2");
    const Forced forced = Forced::from_environment();
    EXPECT_TRUE(forced.algo_set);
    EXPECT_EQ(forced.algo, CollAlgo::kSlot);
    EXPECT_EQ(forced.store, StorePolicy::kNonTemporal);
    EXPECT_EQ(forced.chunk, size_t{16 << 10});
    EXPECT_EQ(forced.blocks, 2);
  }
  const ScopedEnv algo("TW_COLL_ALGO", "fastest");
  try {
    Forced::from_environment();
    FAIL() << "accepted TW_COLL_ALGO=fastest";
  } catch (const Error& e) {
    EXPECT_EQ(e.status(), TW_ERROR_INVALID_ARGUMENT);
    EXPECT_NE(std::string(e.what()).find("\"fastest\""), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("packet, slot, pull, direct"), std::string::npos);
  }
}

TEST(Choice, AgreementHoldsEverythingForced) {
  const std::string none = Forced{}.agreement();
  for (const auto& [name, value] : {std::pair{"TW_COLL_ALGO", "pull"},
                                    {"TW_COLL_STORE", "plain"},
                                    {"TW_COLL_CHUNK", "4096"},
                                    {"TW_COLL_BLOCKS", "2"}}) {
    const ScopedEnv set(name, value);
    const std::string forced = Forced::from_environment().agreement();
    EXPECT_NE(forced, none);
    EXPECT_NE(forced.find(std::string(name) + "=" + value), std::string::npos) << forced;
  }
}

}  // namespace
}  // namespace tw::test
