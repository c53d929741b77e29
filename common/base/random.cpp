#include "common/base/random.hpp"

#include <sys/random.h>

#include "common/base/check.hpp"

namespace liminal {

std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  const auto got = ::getrandom(&seed, sizeof seed, 0);
  check(got == sizeof seed, "the kernel gives random bytes");
  return seed;
}

}  // namespace liminal
