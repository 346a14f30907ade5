// What tests of bad arguments expect of a call that refuses them.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tilewire.h"

namespace tw::test {

/// `got` is `status`, and the sentence has all of `says`. `what`: was called, for messages.
inline void expect_refused(tw_status_t got, tw_status_t status, const std::string& what,
                           const std::vector<std::string>& says) {
  const std::string sentence = tw_last_error();
  EXPECT_EQ(got, status) << what << ": " << tw_status_name(got) << ", " << sentence;
  for (const std::string& text : says)
    EXPECT_NE(sentence.find(text), std::string::npos)
        << what << ": \"" << sentence << "\" does not say \"" << text << '"';
}

}  // namespace tw::test
