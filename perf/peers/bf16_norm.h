// Residual and RMSNorm on bf16 rows, vectorised: what follows the MPI all-reduce of a peer.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tw::perf {

// hidden += residual, rounded; out = hidden / sqrt(mean over the row of hidden^2 + eps) * weight.
// Matrices are m x n without gaps.
void bf16_residual_rms_norm(uint16_t* hidden, const uint16_t* residual, const uint16_t* weight,
                            uint16_t* out, size_t m, size_t n, float eps);

}  // namespace tw::perf
