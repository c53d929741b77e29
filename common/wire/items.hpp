// Internal to common/wire: the items of a session frame.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>

#include "common/base/time.hpp"
#include "common/wire/data.hpp"
#include "common/wire/reader.hpp"
#include "common/wire/writer.hpp"

namespace liminal::wire {

/// The two incarnations that a frame's pids belong to; the serials in here mean nothing.
struct Ends {
  Pid from, to;
};

struct ItemContext {
  TimePoint now;
  std::size_t reason_bytes_max;  // of the text of each exit reason or error
};

/// The pids that an item carries; nullopt for those that concern the session alone.
/// Lifetime: points into the item.
[[nodiscard]] std::optional<std::pair<const Pid*, const Pid*>> pids_of(const Item& item);

void write(Writer& w, const Item& item, const ItemContext& context);

/// Rejects an item with pids where `ends` are missing.
[[nodiscard]] Item read_item(Reader& r, const std::optional<Ends>& ends, TimePoint now);

}  // namespace liminal::wire
