// Why a process ended, in Erlang's terms, and how a lost connection was known.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/time.hpp"

namespace liminal {

/// How the broker (or the node itself) came to its verdict on an incarnation.
enum class EvidenceSource : std::uint8_t {
  kConnectionClosed = 0,  // its control connection closed and was not resumed within the grace
  kHeartbeatsMissed = 1,  // silent for down_after
  kLeft = 2,              // it said that it leaves: no crash of the node
  kIsolated = 3,          // the node fenced itself: it could not reach its broker
  kRecovery = 4,          // it did not resume with a new broker
  kReset = 5,             // the session with it could not go on: neither node is down
};

struct Evidence {
  EvidenceSource source;
  Duration last_heard;    // before the verdict: since the node was last known to be alive
  Duration detection;     // from the first sign (closing, or end of its echoes) to the verdict
  Duration observer_lag;  // the longest delay of the observer's own loop around the verdict

  friend bool operator==(const Evidence&, const Evidence&) = default;
};

/// As SURFACE spells it: "connection closed", "heartbeats missed", ...
[[nodiscard]] std::string_view name_of(EvidenceSource source);

enum class ExitKind : std::uint8_t {
  kNormal = 0,
  kShutdown = 1,
  kError = 2,         // `text` says what
  kKill = 3,          // as an argument of exit(pid, reason): cannot be trapped
  kKilled = 4,        // what others see of a process that was killed
  kNoProc = 5,        // there is no such process (any more)
  kNoConnection = 6,  // its node is down or left, or was fenced from us: it may still run
};

struct ExitReason {
  ExitKind kind;
  std::string text = {};                  // kError: what happened; else empty
  std::optional<Evidence> evidence = {};  // kNoConnection: how it was known

  [[nodiscard]] static ExitReason normal() { return {ExitKind::kNormal}; }
  [[nodiscard]] static ExitReason shutdown() { return {ExitKind::kShutdown}; }
  [[nodiscard]] static ExitReason error(std::string text) {
    return {ExitKind::kError, std::move(text)};
  }
  [[nodiscard]] static ExitReason kill() { return {ExitKind::kKill}; }
  [[nodiscard]] static ExitReason killed() { return {ExitKind::kKilled}; }
  [[nodiscard]] static ExitReason noproc() { return {ExitKind::kNoProc}; }
  [[nodiscard]] static ExitReason noconnection(std::optional<Evidence> evidence) {
    return {ExitKind::kNoConnection, {}, evidence};
  }

  friend bool operator==(const ExitReason&, const ExitReason&) = default;
};

/// One line for people: "exit status 3", "killed", "noconnection (connection closed, known after
/// 502 ms)". An error's text stands for itself.
[[nodiscard]] std::string to_string(const ExitReason& reason);

}  // namespace liminal
