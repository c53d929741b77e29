// Whatever strangers and joined nodes that lie send to a broker: those who are honest stay members,
// hear of each other as before, get nothing that was not theirs, and every bad frame is counted.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "broker/broker_core.hpp"
#include "common/wire/codec.hpp"
#include "tests/fuzz/choices.hpp"

namespace liminal::broker {

/// A broker with three honest nodes and any number of others, whose every move is a choice.
///
/// After each step: no bound is passed, nobody honest is harmed, no frame goes to a connection that
/// closed, what the broker says decodes, and its next deadline lies ahead.
class LyingNodes {
 public:
  explicit LyingNodes(test::Choices choices);

  /// At most so many steps, fewer if the choices are over; then the liars go, and the honest are
  /// where they were. Throws BrokenPromise.
  void run(int steps);

  [[nodiscard]] const BrokerCounters& counters() const { return core_.counters(); }
  [[nodiscard]] std::size_t hostile_joins() const { return hostile_joins_; }

 private:
  static constexpr std::size_t kNodesMax = 8;
  static constexpr std::size_t kHistoryMax = 5;
  static constexpr std::size_t kHonest = 3;
  static constexpr std::size_t kRecordsOfOneMax = 8;
  static constexpr std::size_t kTimelinesMax = 12;
  static constexpr std::size_t kTimelineBytesMax = 64 * 1024;
  static constexpr std::size_t kCancelsMax = 4;
  static constexpr std::size_t kConnectionsMax = 60;  // of the hostile

  struct Honest {
    NodeName name;
    Incarnation incarnation;
    ConnectionId control, data;
    std::optional<std::uint64_t> token = {};
    std::uint64_t version = 0;
    std::set<NodeName> view = {};  // of the honest, as it was told
    std::uint64_t newest_heard = 0;
    std::uint64_t beats = 0;
    std::set<ConversationId> conversations = {};  // that it told of
  };
  /// A connection of somebody hostile, with what was answered there.
  struct Hostile {
    ConnectionId connection;
    std::optional<std::uint64_t> token = {};
    std::optional<control::Join> joined_as = {};
    std::uint64_t newest_heard = 0;
  };

  static BrokerCore::Settings settings();

  // ---- the honest ----

  void join_honest(std::uint64_t number);
  /// Over other connections, with the incarnation that it has; the old ones close before or after.
  void return_honest();
  /// Then nobody is left.
  void leave_honest();
  Honest& any_honest();
  Honest* by_data(ConnectionId connection);

  void honest_frame();

  void pass(Duration duration);
  /// As long as recovery, a grace or a verdict takes, with the beats of the honest.
  void pass_beats(std::uint64_t count);
  /// The broker itself is late by that.
  void stall(Duration lag);
  void advance();

  // ---- the others ----

  Hostile& any_hostile();
  Hostile* any_joined();
  NodeName hostile_name();
  Duration any_duration();

  void step();

  void join_with_a_lie();
  /// The join of somebody who is there, or was, said again: on the same connection or another.
  void come_back();

  void attach();
  /// The broker's own end: closed, given up as too slow, or nothing more could be sent there.
  void end_connection();

  void beat();

  void leave();

  void play_the_broker();

  void send_bytes();

  void route_with_a_lie();

  // ---- conversations ----

  void honest_records();

  /// Of conversations that others opened, or that nobody did, as much as there is no room for.
  void tell_lies();

  ConversationId any_conversation();

  void ask_about_conversations();

  void check_timelines();

  // ---- what goes in ----

  template <class Frame>
  void say(ConnectionId from, Frame frame) {
    say_bytes(from, wire::encode(ControlFrame{std::move(frame)}));
  }

  void say_bytes(ConnectionId from, const std::string& bytes);

  /// Each frame is forwarded, dropped or rejected; exactly one of them, once.
  void route(ConnectionId from, const std::string& header, std::size_t frame_bytes,
             const Honest* sender);

  void check_forward(const effect::Forward& forward, const std::string& header,
                     std::size_t frame_bytes, const Honest* sender);

  // ---- what comes out ----

  /// `cause`: the connection that spoke or closed; nullopt: time passed.
  void carry_out(const Effects& effects, std::optional<ConnectionId> cause);
  static void not_honest(const NodeName& who);

  void on_send(const effect::Send& send, std::optional<ConnectionId> cause);

  void told_honest(Honest& node, const ControlFrame& frame, std::optional<ConnectionId> cause);

  // ---- what holds ----

  template <class Counts, class Kind>
  static std::uint64_t count(const Counts& counts, Kind kind) {
    return counts[static_cast<std::size_t>(kind)];
  }
  template <class Counts>
  static std::uint64_t sum(const Counts& counts) {
    std::uint64_t all = 0;
    for (const std::uint64_t each : counts) all += each;
    return all;
  }

  void check_bounds();

  /// When all the others are gone and forgotten, the honest are where they were; and when they are
  /// gone as well, nothing is left.
  void check_the_end();

  test::Choices choices_;
  TimePoint now_{std::chrono::hours{1}};
  BrokerCore core_;
  bool honest_moving_ = true;  // they come, return or leave
  std::map<ConnectionId, Honest> honest_;
  std::map<ConnectionId, Hostile> hostile_;
  std::uint64_t connections_ = 1000;
  std::size_t hostile_joins_ = 0;
};

}  // namespace liminal::broker
