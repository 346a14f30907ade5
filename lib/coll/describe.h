// The choice tables as text.
#pragma once

#include <string>

namespace tw {

/// This machine's row with its lines, what TW_COLL_* forces, and the other rows' names and origins.
std::string describe_choices();

}  // namespace tw
