#include "common/wire/envelope.hpp"

namespace liminal {

std::string_view name_of(EnvelopeKind kind) {
  switch (kind) {
    case EnvelopeKind::kRequest:
      return "request";
    case EnvelopeKind::kReply:
      return "reply";
    case EnvelopeKind::kDone:
      return "done";
    case EnvelopeKind::kExpired:
      return "expired";
    case EnvelopeKind::kCompensate:
      return "compensate";
    case EnvelopeKind::kCancelled:
      return "cancelled";
    case EnvelopeKind::kCall:
      return "call";
    case EnvelopeKind::kOutcome:
      return "outcome";
  }
  return "?";
}

}  // namespace liminal
