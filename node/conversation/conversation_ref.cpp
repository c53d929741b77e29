#include "node/conversation/conversation_ref.hpp"

#include <charconv>
#include <cstdint>

#include "common/base/text.hpp"

namespace liminal {
namespace {

constexpr std::size_t kHexDigits = 16;

std::optional<std::uint64_t> decimal(std::string_view text) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stopped != end || text.empty() || text.front() == '0') {
    return std::nullopt;
  }
  return value;
}

}  // namespace

std::optional<ConversationId> parse_conversation_id(std::string_view text) {
  if (text.size() != 2 * kHexDigits) return std::nullopt;
  const auto high = from_hex(text.substr(0, kHexDigits));
  const auto low = from_hex(text.substr(kHexDigits));
  if (!high || !low) return std::nullopt;
  return ConversationId{*high, *low};
}

std::string ConversationRef::to_string() const {
  return liminal::to_string(id) + "@" + pid.node.value() + "/" + to_hex(pid.incarnation.value()) +
         "/" + std::to_string(pid.serial.value());
}

Result<ConversationRef> ConversationRef::parse(std::string_view text) {
  const auto wrong = [&] {
    return liminal::fail(Errc::kUsage,
                         "'" + escaped_tail(text, 200) +
                             "' refers to no conversation: right is ID@NODE/INCARNATION/SERIAL");
  };
  const auto conversation = parse_conversation_id(text.substr(0, 2 * kHexDigits));
  if (!conversation || text.size() <= 2 * kHexDigits || text[2 * kHexDigits] != '@') return wrong();
  const std::string_view pid = text.substr(2 * kHexDigits + 1);
  const std::size_t name_end = pid.find('/');
  if (name_end == std::string_view::npos) return wrong();
  const std::string_view rest = pid.substr(name_end + 1);
  if (rest.size() <= kHexDigits || rest[kHexDigits] != '/') return wrong();
  const auto incarnation = from_hex(rest.substr(0, kHexDigits));
  const auto serial = decimal(rest.substr(kHexDigits + 1));
  const std::string_view name = pid.substr(0, name_end);
  if (!valid_name(name) || !incarnation || !serial || *incarnation == 0) return wrong();
  return ConversationRef{
      *conversation, Pid{NodeName{std::string{name}}, Incarnation{*incarnation}, Serial{*serial}}};
}

}  // namespace liminal
