#include "tests/support/attention_step.h"

#define TW_ATTENTION_ENTRY(target)                                       \
  namespace tw::target {                                                 \
  void attention_program_entry(const void* args, int block, int blocks); \
  }
TW_ATTENTION_ENTRY(cpu_amx)
TW_ATTENTION_ENTRY(cpu_amx_emulated)
TW_ATTENTION_ENTRY(cpu_avx512_bf16)
TW_ATTENTION_ENTRY(cpu_avx512)
TW_ATTENTION_ENTRY(cpu_avx2)
TW_ATTENTION_ENTRY(cpu_portable)

namespace tw::test {

std::vector<AttentionTarget> attention_targets() {
  std::vector<AttentionTarget> all;
  const auto add = [&](CpuTarget target, CpuEntry entry, bool bf16) {
    if (cpu_runs(target)) all.push_back({cpu_target_name(target), entry, bf16, {0, 1, 2}});
  };
#if defined(TW_BUILT_CPU_AMX)
  add(CpuTarget::kAmx, cpu_amx::attention_program_entry, true);
#endif
#if defined(TW_BUILT_CPU_AVX512_BF16)
  add(CpuTarget::kAvx512Bf16, cpu_avx512_bf16::attention_program_entry, true);
#endif
#if defined(TW_BUILT_CPU_AVX512)
  add(CpuTarget::kAvx512, cpu_avx512::attention_program_entry, false);
#endif
#if defined(TW_BUILT_CPU_AVX2)
  add(CpuTarget::kAvx2, cpu_avx2::attention_program_entry, false);
#endif
  add(CpuTarget::kPortable, cpu_portable::attention_program_entry, false);
  return all;
}

AttentionTarget emulated_attention() {
  return {"cpu_amx_emulated", cpu_amx_emulated::attention_program_entry, true, {0, 1, 2}};
}

}  // namespace tw::test
