// What the processes of one run of a script saw, and how they ended.
#pragma once

#include <compare>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tests/oracle/script.hpp"

namespace liminal::oracle {

/// Words as the README gives them: "message hello", "exit error(x)", "down m1 killed", "spawned",
/// "not-spawned no-service".
struct Trace {
  struct Key {
    std::size_t step;  // counted from 1
    bool after;  // what the process itself did in this step; else before it, or it did nothing
    std::string process, sender;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct End {
    std::size_t step;
    std::string reason;  // or "lost": with its node; "gone": see canonical()
    friend auto operator<=>(const End&, const End&) = default;
  };

  std::map<Key, std::vector<std::string>> seen;
  std::map<std::string, End> ends;
  std::set<std::string> born;
  std::string broken = {};  // what kept the run from its end; the rest is then worth nothing

  void saw(std::size_t step, bool after, const std::string& process, const std::string& sender,
           std::string what) {
    seen[{step, after, process, sender}].push_back(std::move(what));
  }

  friend auto operator<=>(const Trace&, const Trace&) = default;
};

/// Takes out what is left open by Erlang's promises, so that equal traces are the same behaviour:
/// what a process saw in the step that it did not survive (a fatal signal does not queue behind
/// unread messages); the order between senders; the order of DOWNs and exits of one end.
[[nodiscard]] Trace canonical(Trace trace, const Script& script);

/// For people, one line for each thing seen.
[[nodiscard]] std::string to_text(const Trace& trace);

}  // namespace liminal::oracle
