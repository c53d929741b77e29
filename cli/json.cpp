#include "cli/json.hpp"

#include <nlohmann/json.hpp>

#include "common/base/text.hpp"

namespace liminal::cli {
namespace {

using json = nlohmann::ordered_json;

json evidence_json(const std::optional<Evidence>& evidence) {
  if (!evidence) return nullptr;
  return {{"source", name_of(evidence->source)},
          {"last_heard_ms", to_ms(evidence->last_heard)},
          {"detection_ms", to_ms(evidence->detection)},
          {"observer_lag_ms", to_ms(evidence->observer_lag)}};
}

bool is_utf8(std::string_view bytes) {
  try {
    (void)json(bytes).dump();  // throws type_error 316 on anything else
  } catch (const json::exception&) {
    return false;
  }
  return true;
}

// One line; what is not UTF-8 in a message of another program is replaced, never fatal.
std::string line(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json text_or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

template <class Tag>
json id_or_null(const std::optional<WideId<Tag>>& id) {
  return id ? json(to_string(*id)) : json(nullptr);
}

json summary_json(const control::ConversationSummary& summary) {
  return {{"conversation", to_string(summary.conversation)},
          {"node", summary.node.value()},
          {"incarnation", to_hex(summary.incarnation.value())},
          {"state", name_of(summary.standing)},
          {"phase", text_or_null(summary.phase)},
          {"about", text_or_null(summary.about)},
          {"opened_ago_ms", to_ms(summary.opened_ago)},
          {"ended_ago_ms", summary.ended_ago ? json(to_ms(*summary.ended_ago)) : json(nullptr)},
          {"requests", summary.requests},
          {"crashes", summary.crashes}};
}

json record_json(const control::Told& told, Duration at) {
  const TimelineRecord& record = told.record;
  return {
      {"at_ms", to_ms(at)},
      {"node", told.teller.value()},
      {"event", name_of(record.event)},
      {"role", text_or_null(record.role)},
      {"participant", record.participant ? json(to_string(*record.participant)) : json(nullptr)},
      {"message", id_or_null(record.message)},
      {"cause", id_or_null(record.cause)},
      {"attempt", record.attempt > 0 ? json(record.attempt) : json(nullptr)},
      {"reason", record.reason ? json(to_string(*record.reason)) : json(nullptr)},
      {"evidence", record.reason ? evidence_json(record.reason->evidence) : json(nullptr)},
      {"text", text_or_null(record.text)}};
}

}  // namespace

std::string timeline_json(const Timeline& timeline) {
  const control::TimelineReply& head = timeline.head;
  json object = head.summary ? summary_json(*head.summary)
                             : json{{"conversation", to_string(head.conversation)}};
  object["not_kept"] = {{"routine", head.left_out.routine}, {"other", head.left_out.other}};
  json records = json::array();
  for (std::size_t i = 0; i < timeline.told.size(); ++i) {
    records.push_back(record_json(timeline.told[i], timeline.at[i]));
  }
  object["records"] = std::move(records);
  return line(object);
}

std::string conversations_json(const std::vector<control::ConversationSummary>& summaries,
                               std::uint64_t forgotten) {
  json all = json::array();
  for (const auto& summary : summaries) all.push_back(summary_json(summary));
  return line({{"conversations", all}, {"forgotten", forgotten}});
}

std::string base64(std::string_view bytes) {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto octet = [&](std::size_t k) -> unsigned {
      return i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u;
    };
    const unsigned group = octet(0) << 16 | octet(1) << 8 | octet(2);
    text += kAlphabet[group >> 18];
    text += kAlphabet[group >> 12 & 63];
    text += i + 1 < bytes.size() ? kAlphabet[group >> 6 & 63] : '=';
    text += i + 2 < bytes.size() ? kAlphabet[group & 63] : '=';
  }
  return text;
}

std::string status_json(const std::string& endpoint, const control::StatusReply& status) {
  json nodes = json::array();
  for (const auto& [member, participants, conversations, evidence] : status.nodes) {
    json services = json::array();
    for (const auto& service : member.services) services.push_back(service.value());
    json labels = json::object();
    for (const auto& [key, value] : member.labels) labels[key] = value;
    nodes.push_back({{"name", member.name.value()},
                     {"incarnation", to_hex(member.incarnation.value())},
                     {"state", name_of(member.state)},
                     {"services", services},
                     {"labels", labels},
                     {"participants", participants},
                     {"conversations", conversations},
                     {"evidence", evidence_json(evidence)}});
  }
  return line({{"broker",
                {{"endpoint", endpoint},
                 {"epoch", to_hex(status.epoch.value())},
                 {"uptime_s", to_ms(status.uptime) / 1000.0}}},
               {"nodes", nodes}});
}

namespace {

json reroutes_json(const ConversationState& conversation) {
  json reroutes = json::array();
  for (const auto& reroute : conversation.reroutes) {
    reroutes.push_back({{"role", reroute.role},
                        {"from", reroute.from.node.value()},
                        {"to", reroute.to ? json(reroute.to->node.value()) : json(nullptr)},
                        {"resent", reroute.resent}});
  }
  return reroutes;
}

json compensations_json(const ConversationState& conversation) {
  json compensations = json::array();
  for (const auto& step : conversation.compensations) {
    compensations.push_back({{"participant", step.name},
                             {"role", step.role},
                             {"message", to_string(step.request)},
                             {"in_doubt", step.in_doubt},
                             {"outcome", name_of(step.outcome)},
                             {"attempts", step.attempts},
                             {"node", step.by ? json(step.by->node.value()) : json(nullptr)},
                             {"detail", step.text}});
  }
  return compensations;
}

}  // namespace

std::string outcome_json(const ConversationState& conversation, const Result<Payload>& outcome) {
  json crashes = json::array();
  for (const auto& crash : conversation.crashes) {
    json reason = to_string(crash.reason);
    crashes.push_back({{"participant", crash.name},
                       {"role", crash.role},
                       {"node", crash.pid.node.value()},
                       {"pid", to_string(crash.pid)},
                       {"reason", reason},
                       {"evidence", evidence_json(crash.reason.evidence)},
                       {"policy", name_of(crash.policy)}});
  }
  json object = {{"conversation", to_string(conversation.id)},
                 {"phase", name_of(conversation.phase)},
                 {"error", nullptr},
                 {"crashes", crashes},
                 {"reroutes", reroutes_json(conversation)},
                 {"compensations", compensations_json(conversation)}};
  if (!outcome) {
    object["error"] = {{"name", name_of(outcome.error().code)}, {"detail", outcome.error().detail}};
  } else if (is_utf8(outcome->view())) {
    object["reply"] = outcome->view();
  } else {
    object["reply_base64"] = base64(outcome->view());
  }
  return line(object);
}

}  // namespace liminal::cli
