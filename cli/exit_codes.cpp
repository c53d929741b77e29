#include "cli/exit_codes.hpp"

#include <cstdio>
#include <string>
#include <string_view>

#include "common/base/text.hpp"

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

std::string error_line(const Error& error) {
  std::string line = "error: " + std::string{name_of(error.code)} + ": ";
  // between the backslashes: those may be escapes already
  for (std::string_view rest = error.detail;;) {
    const std::size_t end = rest.find('\\');
    line += escaped_tail(rest.substr(0, end), rest.size());
    if (end == std::string_view::npos) return line + "\n";
    line += '\\';
    rest.remove_prefix(end + 1);
  }
}

ExitCode report(const Error& error) {
  std::fputs(error_line(error).c_str(), stderr);
  return exit_code_of(error.code);
}

}  // namespace liminal::cli
