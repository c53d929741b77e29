#include "broker/broker_log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <type_traits>
#include <variant>

#include "common/base/text.hpp"

namespace liminal::broker {
namespace {

constexpr Duration kWindow = std::chrono::seconds{1};
constexpr std::size_t kDetailBytesMax = 200;

std::string who(const NodeName& name, Incarnation incarnation) {
  return "node '" + name.value() + "' (" + to_hex(incarnation.value()) + ")";
}

std::string joined(const std::vector<std::string>& endpoints) {
  std::string all;
  for (const std::string& endpoint : endpoints) all += (all.empty() ? "" : " ") + endpoint;
  return all;
}

std::string ms(Duration duration) { return fmt::format("{:.0f} ms", to_ms(duration)); }

template <class Event>
constexpr bool is_hostile_v =
    std::is_same_v<Event, effect::BadFrame> || std::is_same_v<Event, effect::ClaimRefused> ||
    std::is_same_v<Event, effect::JoinRefused> || std::is_same_v<Event, effect::ClaimWaits> ||
    std::is_same_v<Event, effect::CancelOrdered>;

struct Writer {
  std::string_view peer;

  void operator()(const effect::Send&) const {}
  void operator()(const effect::Forward&) const {}
  void operator()(const effect::CarriesBeats&) const {}
  void operator()(const effect::Watch&) const {}
  void operator()(const effect::NodeJoined& event) const {
    spdlog::log(event.light ? spdlog::level::debug : spdlog::level::info, "{} joined from {}{}",
                who(event.name, event.incarnation), event.address, event.light ? ", light" : "");
  }
  void operator()(const effect::ControlLost& event) const {
    spdlog::info("{}: control connection closed; waiting for its return",
                 who(event.name, event.incarnation));
  }
  void operator()(const effect::NodeResumed& event) const {
    spdlog::info("{} resumed from {}", who(event.name, event.incarnation), event.address);
  }
  void operator()(const effect::NodeSuspect& event) const {
    spdlog::warn("{} is suspect", who(event.name, event.incarnation));
  }
  void operator()(const effect::NodeRecovered& event) const {
    spdlog::info("{} is heard again", who(event.name, event.incarnation));
  }
  void operator()(const effect::DoubtsItself& event) const {
    switch (event.doubt) {
      case Doubt::kNone:
        return spdlog::info("no longer doubts itself: {} of {} nodes suspect", event.suspects,
                            event.nodes);
      case Doubt::kMany:
        return spdlog::warn("{} of {} nodes suspect, many at once: verdicts wait one more bound",
                            event.suspects, event.nodes);
      case Doubt::kAll:
        return spdlog::warn("all {} nodes are silent: nobody is judged until one is heard",
                            event.nodes);
    }
  }
  void operator()(const effect::NodeDown& event) const {
    spdlog::warn("{} is down: {}, last heard {} before, detected within {}, own lag {}",
                 who(event.name, event.incarnation), name_of(event.evidence.source),
                 ms(event.evidence.last_heard), ms(event.evidence.detection),
                 ms(event.evidence.observer_lag));
  }
  void operator()(const effect::NodeLeft& event) const {
    spdlog::info("{} left", who(event.name, event.incarnation));
  }
  void operator()(const effect::JoinAbandoned& event) const {
    spdlog::info("{} did not finish joining", who(event.name, event.incarnation));
  }
  void operator()(const effect::ClaimWaits& event) const {
    spdlog::info("{} from {} waits until the holder of its name answers or is judged",
                 who(event.name, event.incarnation), event.address);
  }
  void operator()(const effect::ClaimRefused& event) const {
    spdlog::warn("{} from {} refused: {}", who(event.name, event.incarnation), event.address,
                 event.text);
  }
  void operator()(const effect::JoinRefused& event) const {
    spdlog::warn("{} refused: {}", who(event.name, event.incarnation), event.text);
  }
  void operator()(const effect::RecoveryBegins& event) const {
    spdlog::info("recovery begins again: {} comes from an earlier broker, the first to come",
                 who(event.name, event.incarnation));
  }
  void operator()(const effect::RecoveryEnded& event) const {
    spdlog::info("recovery is over; {} incarnations of before did not come back", event.lost);
  }
  void operator()(const effect::CancelOrdered& event) const {
    spdlog::info("conversation {} of node '{}' is to be cancelled, asked for from {}",
                 to_string(event.conversation), event.node.value(), event.address);
  }
  void operator()(const effect::BadFrame& event) const {
    spdlog::warn("bad frame from {} (connection {}): {}: {}", peer, event.connection.value(),
                 name_of(event.reason), escaped_tail(event.detail, kDetailBytesMax));
  }
};

}  // namespace

Result<void> set_up_log(std::string_view level) {
  const spdlog::level::level_enum parsed = spdlog::level::from_str(std::string{level});
  // from_str() says "off" for whatever it does not know
  if (parsed == spdlog::level::off && level != "off") {
    return fail(Errc::kUsage, "'" + std::string{level} +
                                  "' is not a log level: write debug, info, warning, error or off");
  }
  auto logger =
      std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::stderr_sink_st>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  logger->set_level(parsed);
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
  return {};
}

void BrokerLog::event(const Effect& effect, std::string_view peer, TimePoint now) {
  std::visit(
      [&](const auto& event) {
        if (!is_hostile_v<std::decay_t<decltype(event)>> || may_write(now)) Writer{peer}(event);
      },
      effect);
}

void BrokerLog::serves(Epoch epoch, const std::vector<std::string>& endpoints) {
  spdlog::info("serves on {}, epoch {}", joined(endpoints), to_hex(epoch.value()));
}

void BrokerLog::insecure(const std::vector<std::string>& endpoints) {
  spdlog::warn("insecure: whoever reaches {} can join, unauthenticated and in plain text",
               joined(endpoints));
}

void BrokerLog::was_late(Duration lag) {
  spdlog::warn("was late itself by {}: every deadline starts anew", ms(lag));
}

void BrokerLog::gave_up(ConnectionId connection) {
  spdlog::warn("connection {} does not take what is sent to it: cut, so that it begins anew",
               connection.value());
}

void BrokerLog::withheld(ConnectionId connection, TimePoint now) {
  if (!may_write(now)) return;
  spdlog::warn("connection {} asks, but too many answers wait to be read: not answered",
               connection.value());
}

void BrokerLog::socket_error(const Error& error, TimePoint now) {
  if (may_write(now)) spdlog::error("socket: {}", error.detail);
}

void BrokerLog::stops() { spdlog::info("stops"); }

bool BrokerLog::may_write(TimePoint now) {
  if (!window_ || now - *window_ >= kWindow) {
    if (left_out_ > 0) spdlog::warn("{} lines like the following were left out", left_out_);
    window_ = now;
    written_ = 0;
    left_out_ = 0;
  }
  if (written_ == kHostileLinesPerSecond) {
    ++left_out_;
    return false;
  }
  ++written_;
  return true;
}

}  // namespace liminal::broker
