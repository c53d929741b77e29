#include "cli/status.hpp"

#include <algorithm>
#include <cstdio>
#include <thread>
#include <vector>

#include "cli/broker_client.hpp"
#include "cli/json.hpp"
#include "cli/output.hpp"
#include "cli/text_table.hpp"
#include "common/base/text.hpp"

namespace liminal::cli {
namespace {

using namespace std::chrono_literals;

// Between two looks of `wait`.
constexpr Duration kLookInterval = 50ms;
constexpr Duration kOneAnswer = 1s;

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ",") + word;
  return text.empty() ? "-" : text;
}

std::string evidence_text(const std::optional<Evidence>& evidence) {
  if (!evidence) return "";
  char text[96];
  std::snprintf(text, sizeof text, "%s, known after %.0f ms",
                std::string{name_of(evidence->source)}.c_str(), to_ms(evidence->detection));
  return evidence->source == EvidenceSource::kLeft ? std::string{name_of(evidence->source)} : text;
}

std::string status_text(const std::string& endpoint, const control::StatusReply& status) {
  char head[160];
  std::snprintf(head, sizeof head, "broker %s  epoch %s  up %.1f s\n", endpoint.c_str(),
                to_hex(status.epoch.value()).c_str(), to_ms(status.uptime) / 1000.0);
  if (status.nodes.empty()) return std::string{head} + "no nodes\n";
  std::vector<std::vector<std::string>> rows{
      {"NODE", "STATE", "SERVICES", "PARTICIPANTS", "CONVERSATIONS", "INCARNATION", "EVIDENCE"}};
  for (const auto& [member, participants, conversations, evidence] : status.nodes) {
    std::vector<std::string> services;
    for (const auto& service : member.services) services.push_back(service.value());
    rows.push_back({member.name.value(), std::string{name_of(member.state)}, joined(services),
                    std::to_string(participants), std::to_string(conversations),
                    to_hex(member.incarnation.value()), evidence_text(evidence)});
  }
  return head + text_table(rows);
}

bool is_there(const control::StatusReply& status, const std::string& name) {
  return std::any_of(status.nodes.begin(), status.nodes.end(), [&](const auto& node) {
    if (node.member.state != MemberState::kJoined) return false;
    const auto& services = node.member.services;
    return node.member.name.value() == name ||
           std::find(services.begin(), services.end(), ServiceName{name}) != services.end();
  });
}

}  // namespace

ExitCode status(const std::string& endpoint, Duration timeout, bool json) {
  BrokerClient client{endpoint};
  const auto reply = client.ask<control::StatusReply>(control::StatusQuery{}, timeout);
  if (!reply) return report(reply.error());
  const auto written =
      write_out(json ? status_json(endpoint, *reply) + "\n" : status_text(endpoint, *reply));
  return written ? ExitCode::kDone : report(written.error());
}

ExitCode wait(SignalWatch& signals, const std::string& endpoint, const std::string& name,
              Duration timeout) {
  const SystemClock clock;
  const TimePoint deadline = clock.now() + timeout;
  BrokerClient client{endpoint};
  bool answered = false;  // by a broker, ever: then it is the name that is missing
  Error last{Errc::kNoBroker, ""};
  for (;;) {
    if (signals.interrupted()) return ExitCode::kInterrupted;
    const auto reply = client.ask<control::StatusReply>(
        control::StatusQuery{}, std::clamp(deadline - clock.now(), Duration{1ms}, kOneAnswer));
    answered = answered || reply.has_value();
    if (reply && is_there(*reply, name)) return ExitCode::kDone;
    if (!reply) last = reply.error();
    if (!reply && last.code == Errc::kUsage) return report(last);
    const Duration left = deadline - clock.now();
    if (left <= Duration::zero()) break;
    std::this_thread::sleep_for(std::min(left, kLookInterval));
  }
  if (!answered) return report(last);
  return report({Errc::kConversationTimeout, "no joined node is called '" + name +
                                                 "' or offers a service of that name, after " +
                                                 to_string(timeout)});
}

}  // namespace liminal::cli
