#include "common/base/result.hpp"

namespace liminal {

std::string_view name_of(Errc code) {
  switch (code) {
    case Errc::kUsage:
    case Errc::kAddressInUse:
      return "Usage";
    case Errc::kNoBroker:
      return "NoBroker";
    case Errc::kRefused:
    case Errc::kUnsupportedVersion:
      return "Refused";
    case Errc::kNoService:
      return "NoService";
    case Errc::kConversationTimeout:
      return "ConversationTimeout";
    case Errc::kParticipantCrashed:
      return "ParticipantCrashed";
    case Errc::kParticipantLeft:
      return "ParticipantLeft";
    case Errc::kNoReply:
      return "NoReply";
    case Errc::kConversationFailed:
      return "ConversationFailed";
    case Errc::kRejected:
    case Errc::kTooLarge:
    case Errc::kWouldBlock:
      return "Rejected";
    case Errc::kDeferred:
      return "Deferred";
    case Errc::kCompensated:
      return "Compensated";
    case Errc::kCompensationFailed:
      return "CompensationFailed";
    case Errc::kUnsupported:
      return "Usage";
    case Errc::kMalformed:
    case Errc::kPeerUnreachable:
    case Errc::kTransport:
    case Errc::kInternal:
      break;
  }
  return "Internal";
}

}  // namespace liminal
