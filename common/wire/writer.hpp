// For codecs (of frames here, of calls in node/conversation): writes MessagePack values, one after
// the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/check.hpp"
#include "common/base/ids.hpp"
#include "common/base/text.hpp"
#include "common/base/time.hpp"

namespace liminal::wire {

/// Each call writes one value in its shortest form; array() is followed by that many values.
/// What breaks a rule of the protocol is a bug of the caller and ends the process: a peer could
/// only refuse it.
class Writer {
 public:
  explicit Writer(std::size_t bytes_expected) { bytes_.reserve(bytes_expected); }

  Writer& array(std::size_t size);
  Writer& uint(std::uint64_t value);
  Writer& boolean(bool value);
  Writer& nil();
  Writer& bin(std::string_view bytes);

  /// REQUIRES: at most kTextBytesMax bytes.
  Writer& text(std::string_view text);
  /// For texts that operators and programs make: cut to `bytes_max`, between characters.
  Writer& text_cut(std::string_view text, std::size_t bytes_max);
  /// Nanoseconds. REQUIRES: not negative.
  Writer& duration(Duration duration);

  template <class Tag>
  Writer& id(const StrongId<Tag, std::uint64_t>& id) {
    return uint(id.value());
  }
  Writer& id(const SessionNumber& number) { return uint(number.value()); }
  /// REQUIRES: valid_name().
  template <class Tag>
  Writer& id(const StrongId<Tag, std::string>& name) {
    return this->name(name.value());
  }
  /// REQUIRES: valid_name().
  Writer& name(std::string_view name);
  /// REQUIRES: not the local one, which means nothing elsewhere.
  Writer& id(const Incarnation& incarnation);
  template <class Tag>
  Writer& id(const WideId<Tag>& id) {
    return wide(id.high, id.low);
  }

  template <class Enum>
  Writer& enumerator(Enum value) {
    return uint(static_cast<std::uint64_t>(value));
  }
  /// Nil where there is none.
  template <class Optional>
  Writer& optional_id(const Optional& optional) {
    return optional ? id(*optional) : nil();
  }

  [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
  Writer& wide(std::uint64_t high, std::uint64_t low);

  std::string bytes_;
};

}  // namespace liminal::wire
