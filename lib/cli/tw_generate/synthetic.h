// Models of a named shape with random weights: to run what there is no file of.
#pragma once

#include <optional>
#include <string>

#include "tilewire/cpp.h"

namespace tw::cli {

/// "llama-1b, llama-8b ...".
std::string shape_names();

/// With `layers` of its layers, 0: all. Nothing when the name is unknown.
std::optional<tw_model_desc_t> find_shape(const std::string& name, int layers);

/// Weights are drawn from a uniform distribution of variance 1 / columns, the same at every rank
/// and in every run; norms are 1. Ranks that are threads do it one after the other, since each
/// holds a whole weight while it does.
cpp::Model make_synthetic(tw_comm_t comm, const tw_model_desc_t& desc);

}  // namespace tw::cli
