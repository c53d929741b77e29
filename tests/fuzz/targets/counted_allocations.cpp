// As the sanitizer counts them.
#include "tests/support/counted_allocations.hpp"

#include <sanitizer/allocator_interface.h>

#include <cstdlib>

namespace liminal::test {

std::size_t allocated_bytes = 0;

namespace {

void on_malloc(const volatile void*, std::size_t bytes) { allocated_bytes += bytes; }
void on_free(const volatile void*) {}

// Without the hooks nothing would ever be too much.
[[maybe_unused]] const bool kCounting = [] {
  if (__sanitizer_install_malloc_and_free_hooks(&on_malloc, &on_free) == 0) std::abort();
  return true;
}();

}  // namespace
}  // namespace liminal::test
