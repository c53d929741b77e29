// Compares the two sides on one script, and finds the shortest script on which they still differ.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/oracle/erlang_side.hpp"
#include "tests/oracle/script.hpp"
#include "tests/oracle/trace.hpp"

namespace liminal::oracle {

struct Verdict {
  bool agree = false;
  std::string why = {};  // if they do not
  Trace erlang = {};     // both canonical
  std::vector<Trace> ours = {};
  /// Where the script leaves the order open: how many outcomes it may have; nullopt: too many to
  /// find, and only that both sides came to an end was judged.
  std::optional<std::size_t> allowed = {};
};

/// A script that leaves no order open has one outcome: both traces are the same. Of others each
/// trace is among those that the rules allow.
class Judge {
 public:
  explicit Judge(ErlangSide& erlang) : erlang_(erlang) {}

  [[nodiscard]] Verdict judge(const Script& script, std::uint64_t seed);

  /// Takes out what is not needed for the sides to differ. REQUIRES: they differ on `script`.
  [[nodiscard]] Script shortened(Script script, std::uint64_t seed);

 private:
  ErlangSide& erlang_;
};

}  // namespace liminal::oracle
