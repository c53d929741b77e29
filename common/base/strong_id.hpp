// One template for every id, so that two kinds of id cannot be mixed up.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <utility>

namespace liminal {

/// A value with identity and order, but no arithmetic and no implicit conversion in or out.
/// There is no default value: an id that is not known yet is a std::optional.
template <class Tag, class Rep = std::uint64_t>
class StrongId {
 public:
  explicit constexpr StrongId(Rep value) : value_(std::move(value)) {}

  [[nodiscard]] constexpr const Rep& value() const noexcept { return value_; }

  friend constexpr auto operator<=>(const StrongId&, const StrongId&) = default;

 private:
  Rep value_;
};

}  // namespace liminal

template <class Tag, class Rep>
struct std::hash<liminal::StrongId<Tag, Rep>> {
  std::size_t operator()(const liminal::StrongId<Tag, Rep>& id) const noexcept {
    return std::hash<Rep>{}(id.value());
  }
};
