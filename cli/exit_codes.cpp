#include "cli/exit_codes.hpp"

#include <cstdio>
#include <string>

namespace liminal::cli {

ExitCode exit_code_of(Errc code) {
  switch (code) {
    case Errc::kUsage:
    case Errc::kUnsupported:
    case Errc::kAddressInUse:
      return ExitCode::kUsage;
    case Errc::kNoBroker:
    case Errc::kRefused:
    case Errc::kUnsupportedVersion:
      return ExitCode::kNoBroker;
    case Errc::kNoService:
      return ExitCode::kNoService;
    case Errc::kConversationTimeout:
      return ExitCode::kTimeout;
    case Errc::kParticipantCrashed:
    case Errc::kParticipantLeft:
    case Errc::kNoReply:
    case Errc::kConversationFailed:
      return ExitCode::kFailed;
    case Errc::kCompensated:
      return ExitCode::kCompensated;
    case Errc::kCompensationFailed:
      return ExitCode::kCompensationFailed;
    case Errc::kRejected:
    case Errc::kTooLarge:
    case Errc::kWouldBlock:
    case Errc::kDeferred:
      return ExitCode::kRejected;
    case Errc::kMalformed:
    case Errc::kPeerUnreachable:
    case Errc::kTransport:
    case Errc::kInternal:
      break;
  }
  return ExitCode::kInternal;
}

ExitCode report(const Error& error) {
  const std::string line =
      "error: " + std::string{name_of(error.code)} + ": " + error.detail + "\n";
  std::fputs(line.c_str(), stderr);
  return exit_code_of(error.code);
}

}  // namespace liminal::cli
