// GEMM by mma.sync, ldmatrix and a ring of cp.async stages: C[M,N] = A[M,K] B[N,K]^T, bf16.
#include <cuda_bf16.h>
#include <stdint.h>
#define BM 64
#define BN 64
#define BK 32
#define ST 3
static __device__ __forceinline__ uint32_t s2u(const void* p) {
  return (uint32_t)__cvta_generic_to_shared(p);
}
static __device__ __forceinline__ void cpasync16(uint32_t d, const void* s) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(d), "l"(s) : "memory");
}
extern "C" __global__ void __launch_bounds__(128)
    gemm_mma(const __nv_bfloat16* __restrict__ A, const __nv_bfloat16* __restrict__ B,
             __nv_bfloat16* __restrict__ C, int M, int N, int K) {
  extern __shared__ __align__(128) unsigned char smem[];
  __nv_bfloat16* sA = (__nv_bfloat16*)smem;
  __nv_bfloat16* sB = sA + ST * BM * BK;
  int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5;
  int wm = warp >> 1, wn = warp & 1;
  int m0 = blockIdx.y * BM, n0 = blockIdx.x * BN;
  auto swz = [](int row, int chunk) { return row * BK + ((chunk ^ ((row >> 1) & 3)) * 8); };
  auto load = [&](int stage, int k0) {
    for (int c = tid; c < BM * BK / 8; c += 128) {
      int r = c / (BK / 8), ch = c % (BK / 8);
      cpasync16(s2u(sA + stage * BM * BK + swz(r, ch)), A + (size_t)(m0 + r) * K + k0 + ch * 8);
    }
    for (int c = tid; c < BN * BK / 8; c += 128) {
      int r = c / (BK / 8), ch = c % (BK / 8);
      cpasync16(s2u(sB + stage * BN * BK + swz(r, ch)), B + (size_t)(n0 + r) * K + k0 + ch * 8);
    }
  };
  float acc[2][4][4] = {};
  int KT = K / BK;
  for (int s = 0; s < ST - 1; ++s) {
    if (s < KT) load(s, s * BK);
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  for (int kt = 0; kt < KT; ++kt) {
    asm volatile("cp.async.wait_group %0;" ::"n"(ST - 2) : "memory");
    __syncthreads();
    int nk = kt + ST - 1;
    if (nk < KT) load(nk % ST, nk * BK);
    asm volatile("cp.async.commit_group;" ::: "memory");
    const __nv_bfloat16* a = sA + (kt % ST) * BM * BK;
    const __nv_bfloat16* b = sB + (kt % ST) * BN * BK;
#pragma unroll
    for (int kk = 0; kk < BK / 16; ++kk) {
      uint32_t ra[2][4], rb[4][2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        int row = wm * 32 + i * 16 + (lane & 15);
        int ch = kk * 2 + (lane >> 4);
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(ra[i][0]), "=r"(ra[i][1]), "=r"(ra[i][2]), "=r"(ra[i][3])
                     : "r"(s2u(a + swz(row, ch)))
                     : "memory");
      }
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        int row = wn * 32 + j * 16 + (lane & 7) + ((lane >> 4) << 3);
        int ch = kk * 2 + ((lane >> 3) & 1);
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(rb[2 * j][0]), "=r"(rb[2 * j][1]), "=r"(rb[2 * j + 1][0]),
                       "=r"(rb[2 * j + 1][1])
                     : "r"(s2u(b + swz(row, ch)))
                     : "memory");
      }
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
          asm volatile(
              "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
              "{%8,%9}, {%0,%1,%2,%3};"
              : "+f"(acc[i][j][0]), "+f"(acc[i][j][1]), "+f"(acc[i][j][2]), "+f"(acc[i][j][3])
              : "r"(ra[i][0]), "r"(ra[i][1]), "r"(ra[i][2]), "r"(ra[i][3]), "r"(rb[j][0]),
                "r"(rb[j][1]));
    }
  }
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      int r = m0 + wm * 32 + i * 16 + (lane >> 2), c = n0 + wn * 32 + j * 8 + (lane & 3) * 2;
      *(__nv_bfloat162*)(C + (size_t)r * N + c) = __floats2bfloat162_rn(acc[i][j][0], acc[i][j][1]);
      *(__nv_bfloat162*)(C + (size_t)(r + 8) * N + c) =
          __floats2bfloat162_rn(acc[i][j][2], acc[i][j][3]);
    }
}
