// What people are shown, whatever it was made of.
#pragma once

#include <algorithm>
#include <string_view>

#include "common/base/text.hpp"
#include "tests/support/expect.hpp"

namespace liminal::test {

/// Nothing that ends a line or moves a cursor, and UTF-8: escaping what stands between backslashes
/// changes nothing.
inline bool is_one_line(std::string_view text) {
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find('\\'));
    if (escaped_tail(part, part.size()) != part) return false;
    text.remove_prefix(std::min(part.size() + 1, text.size()));
  }
  return true;
}

inline void expect_one_line(const Error& error) {
  expect(!error.detail.empty(), "refused without saying why");
  expect(is_one_line(error.detail), "an error of more than one line");
}

}  // namespace liminal::test
