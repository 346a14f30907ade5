// GEMM by wgmma with a loader warp (TMA, 128-byte swizzle) and an mbarrier ring: C = A B^T, bf16.
#include <cuda.h>
#include <cuda_bf16.h>
#include <stdint.h>
#define BM 128
#define BN 128
#define BK 64
#define ST 3
static __device__ __forceinline__ uint32_t s2u(const void* p) {
  return (uint32_t)__cvta_generic_to_shared(p);
}
static __device__ __forceinline__ void mbar_init(uint32_t b, uint32_t n) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(b), "r"(n) : "memory");
}
static __device__ __forceinline__ void mbar_expect(uint32_t b, uint32_t n) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(b), "r"(n)
               : "memory");
}
static __device__ __forceinline__ void mbar_arrive(uint32_t b) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(b) : "memory");
}
static __device__ __forceinline__ void mbar_wait(uint32_t b, uint32_t ph) {
  asm volatile(
      "{\n.reg .pred P1;\nLAB_WAIT:\nmbarrier.try_wait.parity.shared::cta.b64 P1, [%0], %1;\n@P1 "
      "bra DONE;\nbra LAB_WAIT;\nDONE:\n}" ::"r"(b),
      "r"(ph)
      : "memory");
}
static __device__ __forceinline__ void tma2d(uint32_t d, const CUtensorMap* t, uint32_t bar, int x,
                                             int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, "
      "{%3, %4}], [%2];" ::"r"(d),
      "l"(t), "r"(bar), "r"(x), "r"(y)
      : "memory");
}
static __device__ __forceinline__ uint64_t mkdesc(uint32_t a) {
  uint64_t d = 0;
  d |= (uint64_t)((a & 0x3FFFF) >> 4);
  d |= (uint64_t)1 << 16;
  d |= (uint64_t)(1024 >> 4) << 32;
  d |= (uint64_t)1 << 62;
  return d;
}
static __device__ __forceinline__ bool elect() {
  uint32_t p;
  asm volatile("{\n.reg .pred P;\nelect.sync _|P, 0xffffffff;\nselp.u32 %0,1,0,P;\n}" : "=r"(p));
  return p;
}
extern "C" __global__ void __launch_bounds__(384)
    gemm_wgmma(const __grid_constant__ CUtensorMap ta, const __grid_constant__ CUtensorMap tb,
               __nv_bfloat16* C, int M, int N, int K) {
  extern __shared__ __align__(1024) unsigned char smem[];
  unsigned char* sA = smem;
  unsigned char* sB = smem + ST * BM * BK * 2;
  uint64_t* bars = (uint64_t*)(smem + ST * (BM + BN) * BK * 2);
  uint32_t full = s2u(bars), empty = s2u(bars + ST);
  int wg = threadIdx.x / 128;
  if (threadIdx.x == 0) {
    for (int i = 0; i < ST; ++i) {
      mbar_init(full + 8 * i, 1);
      mbar_init(empty + 8 * i, 2);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncthreads();
  asm volatile("griddepcontrol.wait;" ::: "memory");
  int m0 = blockIdx.y * BM, n0 = blockIdx.x * BN, KT = K / BK;
  if (wg == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x < 32 && elect()) {
      asm volatile("prefetch.tensormap [%0];" ::"l"(&ta) : "memory");
      for (int kt = 0; kt < KT; ++kt) {
        int s = kt % ST;
        int ph = (kt / ST) & 1;
        mbar_wait(empty + 8 * s, ph ^ 1);
        mbar_expect(full + 8 * s, (BM + BN) * BK * 2);
        tma2d(s2u(sA + s * BM * BK * 2), &ta, full + 8 * s, kt * BK, m0);
        tma2d(s2u(sB + s * BN * BK * 2), &tb, full + 8 * s, kt * BK, n0);
      }
    }
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    float d[64];
#pragma unroll
    for (int i = 0; i < 64; ++i) d[i] = 0.f;
    int cw = wg - 1;
    for (int kt = 0; kt < KT; ++kt) {
      int s = kt % ST;
      int ph = (kt / ST) & 1;
      mbar_wait(full + 8 * s, ph);
      asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
      for (int k = 0; k < BK / 16; ++k) {
        uint64_t da = mkdesc(s2u(sA + s * BM * BK * 2 + cw * 64 * BK * 2) + k * 32),
                 db = mkdesc(s2u(sB + s * BN * BK * 2) + k * 32);
        asm volatile(
            "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
            "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
            "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%"
            "23,%24,%25,%26,%27,%28,%29,%30,%31,"
            "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%"
            "53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63},"
            " %64, %65, p, 1, 1, 0, 0;\n}\n"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
              "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]),
              "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]),
              "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
              "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]),
              "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]),
              "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),
              "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
              "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]),
              "+f"(d[55]), "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]),
              "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
            : "l"(da), "l"(db), "r"(1));
      }
      asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
      asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
      if ((threadIdx.x & 127) == 0) mbar_arrive(empty + 8 * s);
    }
    int t = threadIdx.x & 127, w = t >> 5, l = t & 31;
#pragma unroll
    for (int j = 0; j < 16; ++j) {
      int r = m0 + cw * 64 + w * 16 + (l >> 2), c = n0 + j * 8 + (l & 3) * 2;
      *(__nv_bfloat162*)(C + (size_t)r * N + c) = __floats2bfloat162_rn(d[j * 4], d[j * 4 + 1]);
      *(__nv_bfloat162*)(C + (size_t)(r + 8) * N + c) =
          __floats2bfloat162_rn(d[j * 4 + 2], d[j * 4 + 3]);
    }
  }
}
