// A model's file, and the model at a rank.
#pragma once

#include <string>

#include "lib/text/vocabulary.h"
#include "tilewire/cpp.h"

namespace tw::cli {

/// What rank 0 has to know of a file before the ranks meet.
struct FileText {
  Vocabulary vocabulary;
  int64_t context;  // positions that the model was made for
};
/// Throws as ModelFile does.
FileText read_text_of(const std::string& path);

/// Loads the model, with a bar on standard error where that is a terminal and the rank is 0.
cpp::Model load(tw_comm_t comm, const std::string& path);

/// The whole of a file without one line break at its end; "-" is standard input. Throws
/// std::runtime_error naming it.
std::string read_file(const std::string& path);

}  // namespace tw::cli
