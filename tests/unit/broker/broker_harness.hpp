// Talks to a BrokerCore in frames instead of bytes.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "broker/broker_core.hpp"
#include "common/wire/codec.hpp"

namespace liminal::broker {

using namespace std::chrono_literals;

inline constexpr ClusterSettings kCluster{.beat_interval = 250ms,
                                          .suspect_after = 1250ms,
                                          .down_after = 3s,
                                          .reconnect_grace = 500ms,
                                          .payload_bytes_max = 16 * 1024 * 1024};

inline BrokerCore::Settings default_settings() {
  BrokerCore::Settings settings;
  settings.cluster = kCluster;
  return settings;
}

struct Told {
  ConnectionId to;
  ControlFrame frame;
  friend bool operator==(const Told&, const Told&) = default;
};

/// The frames among the effects, in order.
inline std::vector<Told> told(const Effects& effects) {
  std::vector<Told> frames;
  for (const Effect& effect : effects) {
    const auto* send = std::get_if<effect::Send>(&effect);
    if (send == nullptr) continue;
    auto frame = wire::decode_control(send->bytes);
    if (!frame) {
      ADD_FAILURE() << "the broker sent what does not decode: " << frame.error().detail;
      continue;
    }
    frames.push_back({send->connection, *std::move(frame)});
  }
  return frames;
}

/// The frames of one kind to one connection, in order.
template <class Frame>
std::vector<Frame> told_to(ConnectionId connection, const Effects& effects) {
  std::vector<Frame> frames;
  for (Told& each : told(effects)) {
    if (each.to != connection) continue;
    if (auto* frame = std::get_if<Frame>(&each.frame)) frames.push_back(std::move(*frame));
  }
  return frames;
}

template <class Kind>
std::vector<Kind> among(const Effects& effects) {
  std::vector<Kind> found;
  for (const Effect& effect : effects) {
    if (const auto* kind = std::get_if<Kind>(&effect)) found.push_back(*kind);
  }
  return found;
}

inline NodeName name(std::string_view text) { return NodeName{std::string{text}}; }
inline ConnectionId conn(std::uint64_t number) { return ConnectionId{number}; }
inline Incarnation inc(std::uint64_t number) { return Incarnation{number}; }

inline control::Join join_frame(std::string_view node, std::uint64_t incarnation,
                                bool light = false) {
  return {.name = name(node),
          .incarnation = inc(incarnation),
          .light = light,
          .services = {ServiceName{"upper"}},
          .labels = {{"zone", "a"}}};
}

class BrokerCoreTest : public ::testing::Test {
 protected:
  /// What a node holds after both of its connections stand.
  struct Joined {
    std::string node;
    std::uint64_t incarnation;
    ConnectionId control;
    ConnectionId data;
    control::Welcome welcome;
    std::uint64_t beats = 0;
  };

  Effects control(ConnectionId from, const ControlFrame& frame) {
    return core.on_control(from, "10.0.0.1:4000", wire::encode(frame), now);
  }
  Effects data(ConnectionId from, std::string_view node, std::uint64_t incarnation) {
    return core.on_data(from, wire::encode(RouteTo{name(node), inc(incarnation)}), 100, now);
  }
  Effects advance_by(Duration duration) { return core.advance(now += duration); }

  /// Connections 10 * incarnation and the one after it.
  Joined join(std::string_view node, std::uint64_t incarnation, bool light = false) {
    const ConnectionId at = conn(10 * incarnation);
    const auto welcomes =
        told_to<control::Welcome>(at, control(at, join_frame(node, incarnation, light)));
    EXPECT_EQ(welcomes.size(), 1u) << node;
    Joined joined{std::string{node}, incarnation, at, conn(10 * incarnation + 1), welcomes.at(0)};
    const auto attached = control(joined.data, control::Attach{joined.welcome.token});
    EXPECT_EQ(told_to<control::Attached>(joined.data, attached).size(), 1u) << node;
    return joined;
  }

  /// Passes time in steps of a beat; those in `alive` echo each beat at once.
  Effects pass(Duration duration, std::vector<Joined*> alive = {}) {
    Effects all;
    const TimePoint end = now + duration;
    while (now < end) {
      Effects some = advance_by(std::min<Duration>(kCluster.beat_interval, end - now));
      for (Joined* node : alive) {
        for (const auto& beat : told_to<control::BrokerBeat>(node->control, some)) {
          Effects more = control(node->control, control::NodeBeat{.number = ++node->beats,
                                                                  .echo = beat.number,
                                                                  .participants = 1,
                                                                  .conversations = 2});
          all.insert(all.end(), more.begin(), more.end());
        }
      }
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

  std::uint64_t dropped(DropCause cause) const {
    return core.counters().dropped[static_cast<std::size_t>(cause)];
  }
  std::uint64_t rejected(BadFrameReason reason) const {
    return core.counters().rejected[static_cast<std::size_t>(reason)];
  }

  TimePoint now{1h};
  BrokerCore core{default_settings(), Random{7}, now};
};

}  // namespace liminal::broker
