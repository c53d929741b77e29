// What is said when a promise does not hold, under GoogleTest and under libFuzzer.
#pragma once

#include <stdexcept>
#include <string>

namespace liminal::test {

/// A promise of the code under test that was not kept. for_each_seed() turns it into a failed test
/// with its seed; in a libFuzzer target nobody catches it, so that the process ends where it was
/// thrown and the input is kept.
class BrokenPromise : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// Throws BrokenPromise unless it `holds`.
inline void expect(bool holds, const char* promise, const char* file = __builtin_FILE(),
                   int line = __builtin_LINE()) {
  if (holds) [[likely]]
    return;
  throw BrokenPromise{std::string{file} + ":" + std::to_string(line) + ": " + promise};
}

}  // namespace liminal::test
