// The opaque bytes of an application.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace liminal {

/// Immutable bytes that many may hold at once: an envelope in a mailbox, the copy that a session
/// keeps until it is acknowledged, the reply that a conversation buffers.
///
/// Thread-safety: immutable, so any number of threads may read; shared_ptr because no holder
/// outlives the others by construction.
/// Cost: copying a Payload copies a pointer.
class Payload {
 public:
  Payload() = default;
  explicit Payload(std::string bytes)
      : bytes_(bytes.empty() ? nullptr
                             : std::make_shared<const std::string>(std::move(bytes))) {}

  [[nodiscard]] std::string_view view() const noexcept {
    return bytes_ ? std::string_view{*bytes_} : std::string_view{};
  }
  [[nodiscard]] std::size_t size() const noexcept { return view().size(); }

  friend bool operator==(const Payload& a, const Payload& b) { return a.view() == b.view(); }

 private:
  std::shared_ptr<const std::string> bytes_;  // null: empty
};

}  // namespace liminal
