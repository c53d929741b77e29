// The items that explorations of sessions are made of.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "common/wire/limits.hpp"
#include "tests/fuzz/choices.hpp"
#include "tests/unit/common/wire/frames.hpp"

namespace liminal::test {

/// One of items(); transfers have small numbers, and payloads of two chunks or so, so that some of
/// what is put together at random is a whole transfer.
[[nodiscard]] inline Item any_item(Choices& choices) {
  static const auto kAll = items();
  Item item = kAll[choices.below(kAll.size())].item;
  const auto transfer = [&] { return TransferId{1 + choices.below(3)}; };
  if (auto* offer = std::get_if<item::Offer>(&item)) {
    *offer = {transfer(), wire::kChunkBytesMax + choices.below(3)};
  } else if (auto* grant = std::get_if<item::Grant>(&item)) {
    grant->transfer = transfer();
  } else if (auto* begin = std::get_if<item::Begin>(&item)) {
    begin->transfer = transfer();
  } else if (auto* chunk = std::get_if<item::Chunk>(&item)) {
    static const Payload kLarge{std::string(wire::kChunkBytesMax, 'c')};
    static const Payload kSmall[] = {Payload{"c"}, Payload{"cc"}};
    const std::uint64_t which = choices.below(3);
    *chunk = {transfer(), which == 2 ? kLarge : kSmall[which]};
  }
  return item;
}

}  // namespace liminal::test
