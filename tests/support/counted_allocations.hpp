// How much memory a test program takes. Its program contains counted_allocations.cpp, which
// replaces operator new, or, if it is a libFuzzer target, that of tests/fuzz/targets, which asks
// the sanitizer.
#pragma once

#include <cstddef>

namespace liminal::test {

/// Allocated since a test last set it to 0, never counting what was freed. For one thread.
extern std::size_t allocated_bytes;

}  // namespace liminal::test
