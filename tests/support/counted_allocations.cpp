#include "tests/support/counted_allocations.hpp"

#include <cstdlib>
#include <new>

namespace liminal::test {

std::size_t allocated_bytes = 0;

}  // namespace liminal::test

// not inlined: g++ would see one of a pair without the other and warn
[[gnu::noinline]] void* operator new(std::size_t size) {
  liminal::test::allocated_bytes += size;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc{};
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
