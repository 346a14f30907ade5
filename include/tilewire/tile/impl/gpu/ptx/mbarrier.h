// Barriers of a block in shared memory (mbarrier) and of numbered groups of its threads.
#pragma once

#include <cstdint>

#include "tilewire/tile/target.h"

namespace TW_NS::ptx {

/// The address in the shared window, as `.shared` forms want it.
TW_FN uint32_t in_shared(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// ---- mbarrier: a phase ends when `count` threads have arrived and all expected bytes come ----

TW_FN void mbarrier_init(uint64_t* barrier, uint32_t count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(in_shared(barrier)), "r"(count)
               : "memory");
}

/// Makes initialised barriers known to the async proxy, whose copies complete on them.
TW_FN void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/// Order: release, scope: block.
TW_FN void mbarrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(in_shared(barrier)) : "memory");
}

/// The running phase also waits for `bytes` of bulk copies. Order: none.
TW_FN void mbarrier_expect(uint64_t* barrier, uint32_t bytes) {
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(in_shared(barrier)),
               "r"(bytes)
               : "memory");
}

/// Both of the above. Order: release, scope: block.
TW_FN void mbarrier_arrive_expect(uint64_t* barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(in_shared(barrier)),
               "r"(bytes)
               : "memory");
}

/// Whether the phase of this parity has ended; the thread may sleep a little before the answer is
/// no. Order: acquire, scope: block.
TW_FN bool mbarrier_try_wait(uint64_t* barrier, uint32_t parity) {
  uint32_t ended;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(ended)
      : "r"(in_shared(barrier)), "r"(parity)
      : "memory");
  return ended != 0;
}

/// As try_wait, without sleep.
TW_FN bool mbarrier_test_wait(uint64_t* barrier, uint32_t parity) {
  uint32_t ended;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(ended)
      : "r"(in_shared(barrier)), "r"(parity)
      : "memory");
  return ended != 0;
}

// ---- Words in shared memory ----

TW_FN uint32_t load_relaxed_shared(const uint32_t* from) {
  uint32_t value;
  asm volatile("ld.relaxed.cta.shared::cta.u32 %0, [%1];"
               : "=r"(value)
               : "r"(in_shared(from))
               : "memory");
  return value;
}

TW_FN uint64_t load_relaxed_shared(const uint64_t* from) {
  uint64_t value;
  asm volatile("ld.relaxed.cta.shared::cta.u64 %0, [%1];"
               : "=l"(value)
               : "r"(in_shared(from))
               : "memory");
  return value;
}

TW_FN void store_relaxed_shared(uint64_t* to, uint64_t value) {
  asm volatile("st.relaxed.cta.shared::cta.u64 [%0], %1;" ::"r"(in_shared(to)), "l"(value)
               : "memory");
}

// ---- Numbered barriers of `threads` threads, whole warps, which come together first ----

TW_FN void barrier_sync(int id, int threads) {
  __syncwarp();
  asm volatile("barrier.cta.sync.aligned %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// True when all threads say so.
TW_FN bool barrier_and(int id, int threads, bool ok) {
  __syncwarp();
  uint32_t all;
  asm volatile(
      "{\n"
      ".reg .pred p, q;\n"
      "setp.ne.u32 p, %3, 0;\n"
      "barrier.cta.red.and.aligned.pred q, %1, %2, p;\n"
      "selp.u32 %0, 1, 0, q;\n"
      "}\n"
      : "=r"(all)
      : "r"(id), "r"(threads), "r"(static_cast<uint32_t>(ok))
      : "memory");
  return all != 0;
}

}  // namespace TW_NS::ptx
