// Two-shot all-reduce in bf16 through a multicast object: each GPU reduces and stores its share.
#include <stdint.h>
#define MAXR 8
struct MMParams {
  uint4* mc;
  uint32_t* mc_sig;
  uint32_t* my_sig;
  int rank, world;
  uint32_t epoch;
  int nvec;
};
static __device__ __forceinline__ void mm_barrier(const MMParams& p, uint32_t target) {
  if (threadIdx.x == 0) {
    // arrive at all peers by one multicast reduction, then spin on the local copy
    asm volatile("multimem.red.release.sys.global.add.u32 [%0], %1;" ::"l"(p.mc_sig + blockIdx.x),
                 "r"(1u)
                 : "memory");
    asm volatile("fence.proxy.alias;" ::: "memory");
    uint32_t v;
    do {
      asm volatile("ld.acquire.sys.global.u32 %0, [%1];"
                   : "=r"(v)
                   : "l"(p.my_sig + blockIdx.x)
                   : "memory");
    } while (v < target);
  }
  __syncthreads();
}
extern "C" __global__ void __launch_bounds__(256) mm_twoshot(const __grid_constant__ MMParams p) {
  mm_barrier(p, p.epoch * p.world);
  int per = (p.nvec + p.world - 1) / p.world;
  int lo = per * p.rank, hi = min(lo + per, p.nvec);
  for (int i = lo + blockIdx.x * blockDim.x + threadIdx.x; i < hi; i += gridDim.x * blockDim.x) {
    uint32_t a, b, c, d;
    asm volatile("multimem.ld_reduce.relaxed.sys.global.add.acc::f32.v4.bf16x2 {%0,%1,%2,%3}, [%4];"
                 : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
                 : "l"(p.mc + i)
                 : "memory");
    asm volatile("multimem.st.relaxed.sys.global.v4.bf16x2 [%0], {%1,%2,%3,%4};" ::"l"(p.mc + i),
                 "r"(a), "r"(b), "r"(c), "r"(d)
                 : "memory");
  }
  __syncthreads();
  mm_barrier(p, (p.epoch + 1) * p.world);
}
