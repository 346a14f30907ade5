// What a kernel is compiled for. Everything in a kernel lives in TW_NS, one namespace per target,
// so that code compiled for a wider instruction set is never linked into a narrower one.
//
// The build gives TW_NS (tw::cpu_avx512 ...) and compiles each kernels/*.cu once per target.
// A target's header defines:
//   TW_FN               marks every function that runs in a kernel
//   TW_CALLED_FN        the same, for functions that are large and used in many places
//   Target::kName       "cpu_avx512"
//   Target::kPacketBytes, kPacketPayload, kGranule   its Framing (comm_view.h)
//   Target::kPacketsOrder   a packet releases and acquires what came before it, not only its
//   payload
#pragma once

#ifndef TW_NS
#if defined(__CUDACC__)
#define TW_NS tw::gpu
#else
#define TW_NS tw::cpu_portable
#endif
#endif

#if defined(__CUDACC__)
#include "tilewire/tile/impl/gpu/target.h"
#else
#include "tilewire/tile/impl/cpu/target.h"
#endif
