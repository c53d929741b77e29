#include "common/base/token_source.hpp"

#include <bit>

namespace liminal {
namespace {

struct SipState {
  std::uint64_t v0, v1, v2, v3;

  void round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }

  void absorb(std::uint64_t word) {
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  }
};

}  // namespace

std::uint64_t siphash24(std::uint64_t key0, std::uint64_t key1, std::uint64_t word) {
  SipState state{key0 ^ 0x736f6d6570736575ULL, key1 ^ 0x646f72616e646f6dULL,
                 key0 ^ 0x6c7967656e657261ULL, key1 ^ 0x7465646279746573ULL};
  state.absorb(word);
  state.absorb(std::uint64_t{8} << 56);  // the length, in the last word's highest byte
  state.v2 ^= 0xff;
  for (int i = 0; i < 4; ++i) state.round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

std::uint64_t TokenSource::next() {
  std::uint64_t token = 0;
  while (token == 0) token = siphash24(key0_, key1_, ++counter_);
  return token;
}

}  // namespace liminal
