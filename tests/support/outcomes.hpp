// What became of a call, as a line of text that tests compare.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "node/conversation/waiter.hpp"

namespace liminal::test {

/// "ok hello", "NoReply: ...".
inline std::string text_of(const Outcome& outcome) {
  return outcome ? "ok " + std::string{outcome->view()}
                 : std::string{name_of(outcome.error().code)} + ": " + outcome.error().detail;
}

/// A place for the text of one outcome: "" until it is there.
using Told = std::shared_ptr<std::string>;
inline Told nothing() { return std::make_shared<std::string>(); }
/// Of a call that is to be told once at the most.
inline auto into(const Told& told) {
  return [told](const Outcome& outcome) {
    EXPECT_EQ(*told, "") << "told twice";
    *told = text_of(outcome);
  };
}

}  // namespace liminal::test
