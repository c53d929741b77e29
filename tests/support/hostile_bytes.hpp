// Bytes that nobody sends on purpose.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "common/base/random.hpp"

namespace liminal::test {

/// Changes bytes here and there; pieces of `others` get in. May leave them as they are.
inline std::string mutated(std::string bytes, const std::vector<std::string>& others,
                           Random& random) {
  for (std::uint64_t change = random.below(5); change-- > 0;) {
    if (bytes.empty()) bytes = std::string(1, '\x93');
    const std::size_t at = random.below(bytes.size());
    const std::string& other = others[random.below(others.size())];
    switch (random.below(8)) {
      case 0:
        bytes[at] = static_cast<char>(random.below(256));
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
        break;
      case 2:
        bytes.insert(at, 1, static_cast<char>(random.below(256)));
        break;
      case 3:
        bytes.erase(at, 1 + random.below(4));
        break;
      case 4:  // cut
        bytes.resize(at);
        break;
      case 5:  // the end is another's
        bytes.replace(at, std::string::npos, other.substr(random.below(other.size())));
        break;
      case 6:
        bytes.insert(at, other.substr(random.below(other.size()), random.below(20)));
        break;
      case 7: {  // a length or number far too great
        static const std::string kGreat[] = {
            std::string("\xdd\xff\xff\xff\xff", 5), std::string("\xdb\x7f\xff\xff\xff", 5),
            std::string("\xc6\xff\xff\xff\xf0", 5), std::string("\xdf\xff\xff\xff\xff", 5),
            std::string("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9)};
        bytes.replace(at, 1, kGreat[random.below(std::size(kGreat))]);
        break;
      }
    }
  }
  return bytes;
}

inline std::string random_bytes(std::uint64_t bytes_max, Random& random) {
  std::string bytes(random.below(bytes_max + 1), '\0');
  for (char& byte : bytes) byte = static_cast<char>(random.below(256));
  return bytes;
}

/// Most begin as a frame of version 1 does, so that the fields are reached.
inline std::string random_frame(std::uint64_t bytes_max, Random& random) {
  std::string bytes;
  if (random.below(4) > 0) {
    bytes = {static_cast<char>(0x90 + random.below(16)), '\x01',
             static_cast<char>(random.below(36))};
  }
  return bytes + random_bytes(bytes_max, random);
}

}  // namespace liminal::test
