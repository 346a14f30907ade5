// Memory accesses and fences whose scope and order C++ cannot say. Names: what, order, scope.
// Every access is to global memory, of this device or mapped from a peer.
#pragma once

#include <cstdint>

#include "tilewire/tile/target.h"

namespace TW_NS::ptx {

/// The address in the global window, as `.global` forms want it.
TW_FN uint64_t global(const void* p) { return __cvta_generic_to_global(p); }

// ---- Words ----

TW_FN uint64_t load_relaxed_sys(const uint64_t* from) {
  uint64_t value;
  asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(global(from)) : "memory");
  return value;
}

TW_FN uint64_t load_acquire_sys(const uint64_t* from) {
  uint64_t value;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(global(from)) : "memory");
  return value;
}

TW_FN void store_relaxed_sys(uint64_t* to, uint64_t value) {
  asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(global(to)), "l"(value) : "memory");
}

TW_FN void store_relaxed_sys(uint32_t* to, uint32_t value) {
  asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(global(to)), "r"(value) : "memory");
}

TW_FN void store_release_sys(uint64_t* to, uint64_t value) {
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(global(to)), "l"(value) : "memory");
}

TW_FN void store_relaxed_gpu(uint64_t* to, uint64_t value) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(global(to)), "l"(value) : "memory");
}

/// Returns the value before the addition.
TW_FN uint64_t add_acq_rel_gpu(uint64_t* to, uint64_t value) {
  uint64_t before;
  asm volatile("atom.acq_rel.gpu.global.add.u64 %0, [%1], %2;"
               : "=l"(before)
               : "l"(global(to)), "l"(value)
               : "memory");
  return before;
}

/// Returns the value before the addition.
TW_FN uint64_t add_relaxed_gpu(uint64_t* to, uint64_t value) {
  uint64_t before;
  asm volatile("atom.relaxed.gpu.global.add.u64 %0, [%1], %2;"
               : "=l"(before)
               : "l"(global(to)), "l"(value)
               : "memory");
  return before;
}

/// Returns the value before the exchange.
TW_FN uint64_t compare_exchange_relaxed_sys(uint64_t* to, uint64_t expected, uint64_t value) {
  uint64_t before;
  asm volatile("atom.relaxed.sys.global.cas.b64 %0, [%1], %2, %3;"
               : "=l"(before)
               : "l"(global(to)), "l"(expected), "l"(value)
               : "memory");
  return before;
}

// ---- Packets: 16 bytes, aligned, in one access ----
// The PTX model promises single-copy atomicity for up to 8 bytes and treats a vector as separate
// accesses in no order. On every chip since sm_70 an aligned 16-byte access of one thread is one
// transaction, over NVLink and PCIe peers too; NCCL's LL protocol stands on the same fact.

struct Packet {
  uint64_t payload;
  uint64_t word;
};

TW_FN Packet load_packet_relaxed_sys(const void* from) {
  Packet p;
  asm volatile("ld.relaxed.sys.global.v2.u64 {%0, %1}, [%2];"
               : "=l"(p.payload), "=l"(p.word)
               : "l"(global(from))
               : "memory");
  return p;
}

TW_FN void store_packet_relaxed_sys(void* to, Packet p) {
  asm volatile("st.relaxed.sys.global.v2.u64 [%0], {%1, %2};" ::"l"(global(to)), "l"(p.payload),
               "l"(p.word)
               : "memory");
}

// ---- Fences ----

/// With a relaxed store after it: release. With a relaxed load before it: acquire.
TW_FN void fence_acq_rel_sys() { asm volatile("fence.acq_rel.sys;" ::: "memory"); }

/// Between accesses to the same memory through a multicast and through a unicast address.
TW_FN void fence_proxy_alias() { asm volatile("fence.proxy.alias;" ::: "memory"); }

// ---- Multicast: one access that reaches every device of the multicast object (sm_90). Stores move
// data; sums are added by the fabric in its own order: TW_REDUCE_FAST only. ----

#if !defined(TW_TARGET_SM_80)
TW_FN void store_everywhere_weak(void* to, uint4 v) {
  asm volatile("multimem.st.weak.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(global(to)),
               "f"(__uint_as_float(v.x)), "f"(__uint_as_float(v.y)), "f"(__uint_as_float(v.z)),
               "f"(__uint_as_float(v.w))
               : "memory");
}

TW_FN void store_everywhere_weak(void* to, uint2 v) {
  asm volatile("multimem.st.weak.global.v2.f32 [%0], {%1, %2};" ::"l"(global(to)),
               "f"(__uint_as_float(v.x)), "f"(__uint_as_float(v.y))
               : "memory");
}

TW_FN float4 sum_everywhere_fp32(const void* from) {
  float4 v;
  asm volatile("multimem.ld_reduce.weak.global.add.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "l"(global(from))
               : "memory");
  return v;
}

/// Four elements, added in fp32 and rounded once.
TW_FN uint2 sum_everywhere_bf16(const void* from) {
  uint2 v;
  asm volatile("multimem.ld_reduce.weak.global.add.acc::f32.v2.bf16x2 {%0, %1}, [%2];"
               : "=r"(v.x), "=r"(v.y)
               : "l"(global(from))
               : "memory");
  return v;
}

TW_FN uint2 sum_everywhere_fp16(const void* from) {
  uint2 v;
  asm volatile("multimem.ld_reduce.weak.global.add.acc::f32.v2.f16x2 {%0, %1}, [%2];"
               : "=r"(v.x), "=r"(v.y)
               : "l"(global(from))
               : "memory");
  return v;
}

#else  // Target::kMulticast is false: never called

TW_FN void store_everywhere_weak(void* /*to*/, uint4 /*v*/) {}
TW_FN void store_everywhere_weak(void* /*to*/, uint2 /*v*/) {}
TW_FN float4 sum_everywhere_fp32(const void* /*from*/) { return {}; }
TW_FN uint2 sum_everywhere_bf16(const void* /*from*/) { return {}; }
TW_FN uint2 sum_everywhere_fp16(const void* /*from*/) { return {}; }

#endif

// ---- Time ----

TW_FN uint64_t nanoseconds() {
  uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)::"memory");
  return now;
}

TW_FN void sleep(uint32_t nanoseconds) {
  asm volatile("nanosleep.u32 %0;" ::"r"(nanoseconds) : "memory");
}

}  // namespace TW_NS::ptx
