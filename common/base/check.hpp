// A broken contract of our own ends the process here; nothing that a peer can cause comes this way.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace liminal {

/// Aborts if a bug of ours made `holds` false. Never for what a peer, the network or an operator
/// can cause: that is a Result. On in release too. No macro: the call site comes from the default
/// arguments (the builtins rather than std::source_location, which clang-tidy 14 cannot parse).
inline void check(bool holds, const char* contract, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) noexcept {
  if (holds) [[likely]]
    return;
  std::fprintf(stderr, "%s:%d: broken contract: %s\n", file, line, contract);
  std::abort();
}

}  // namespace liminal
