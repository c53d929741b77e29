#include "common/wire/exit_reason.hpp"

#include <cmath>

namespace liminal {

std::string_view name_of(EvidenceSource source) {
  switch (source) {
    case EvidenceSource::kConnectionClosed:
      return "connection closed";
    case EvidenceSource::kHeartbeatsMissed:
      return "heartbeats missed";
    case EvidenceSource::kLeft:
      return "left";
    case EvidenceSource::kIsolated:
      return "isolated";
    case EvidenceSource::kRecovery:
      return "recovery";
    case EvidenceSource::kReset:
      return "session reset";
  }
  return "?";
}

namespace {

std::string noconnection(const std::optional<Evidence>& evidence) {
  if (!evidence) return "noconnection";
  std::string text = "noconnection (" + std::string{name_of(evidence->source)};
  // A leave is said, not detected; who fences itself or resets a session detects no death.
  const bool detected = evidence->source != EvidenceSource::kLeft &&
                        evidence->source != EvidenceSource::kIsolated &&
                        evidence->source != EvidenceSource::kReset;
  if (detected) {
    text += ", known after " + std::to_string(std::llround(to_ms(evidence->detection))) + " ms";
  }
  return text + ")";
}

}  // namespace

std::string to_string(const ExitReason& reason) {
  switch (reason.kind) {
    case ExitKind::kNormal:
      return "normal";
    case ExitKind::kShutdown:
      return "shutdown";
    case ExitKind::kError:
      return reason.text.empty() ? "error" : reason.text;
    case ExitKind::kKill:
      return "kill";
    case ExitKind::kKilled:
      return "killed";
    case ExitKind::kNoProc:
      return "noproc";
    case ExitKind::kNoConnection:
      return noconnection(reason.evidence);
  }
  return "?";
}

}  // namespace liminal
