// Bytes that nobody sends on purpose.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

namespace liminal::test {

/// What decides: a Random, or an exploration's Choices. below(bound) is in [0, bound).
template <class Source>
concept Decides = requires(Source& source) {
  { source.below(std::uint64_t{1}) } -> std::same_as<std::uint64_t>;
};

/// Changes bytes here and there; pieces of `others` get in. May leave them as they are.
/// REQUIRES: none of `others` is empty.
template <Decides Source>
std::string mutated(std::string bytes, const std::vector<std::string>& others, Source& source) {
  for (std::uint64_t change = source.below(5); change-- > 0;) {
    if (bytes.empty()) bytes = std::string(1, '\x93');
    const std::size_t at = source.below(bytes.size());
    const std::string& other = others[source.below(others.size())];
    switch (source.below(8)) {
      case 0:
        bytes[at] = static_cast<char>(source.below(256));
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << source.below(8)));
        break;
      case 2:
        bytes.insert(at, 1, static_cast<char>(source.below(256)));
        break;
      case 3:
        bytes.erase(at, 1 + source.below(4));
        break;
      case 4:  // cut
        bytes.resize(at);
        break;
      case 5:  // the end is another's
        bytes.replace(at, std::string::npos, other.substr(source.below(other.size())));
        break;
      case 6:
        bytes.insert(at, other.substr(source.below(other.size()), source.below(20)));
        break;
      case 7: {  // a length or number far too great
        static const std::string kGreat[] = {
            std::string("\xdd\xff\xff\xff\xff", 5), std::string("\xdb\x7f\xff\xff\xff", 5),
            std::string("\xc6\xff\xff\xff\xf0", 5), std::string("\xdf\xff\xff\xff\xff", 5),
            std::string("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9)};
        bytes.replace(at, 1, kGreat[source.below(std::size(kGreat))]);
        break;
      }
    }
  }
  return bytes;
}

template <Decides Source>
std::string any_bytes(std::uint64_t bytes_max, Source& source) {
  std::string bytes(source.below(bytes_max + 1), '\0');
  for (char& byte : bytes) byte = static_cast<char>(source.below(256));
  return bytes;
}

/// Most begin as a frame of version 1 does, so that the fields are reached.
template <Decides Source>
std::string any_frame(std::uint64_t bytes_max, Source& source) {
  std::string bytes;
  if (source.below(4) > 0) {
    bytes = {static_cast<char>(0x90 + source.below(16)), '\x01',
             static_cast<char>(source.below(36))};
  }
  return bytes + any_bytes(bytes_max, source);
}

}  // namespace liminal::test
