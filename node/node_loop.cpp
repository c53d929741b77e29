#include "node/node_loop.hpp"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "common/base/text.hpp"

namespace liminal {
namespace {

// Messages of one socket in one turn; the other one, the inbox and the clock get their turn then.
constexpr int kMessagesPerTurnMax = 256;
// While libzmq takes nothing there is no event to wait for.
constexpr Duration kRetryInterval = std::chrono::milliseconds{2};
// Records are told together, and so few at once that a beat does not wait for them.
constexpr Duration kRecordsInterval = std::chrono::milliseconds{20};
constexpr int kRecordFramesAtOnce = 2;
constexpr Duration kWaitMax = std::chrono::seconds{1};
// What a caller waits for: beyond it the library's clock would overflow.
constexpr Duration kCallerWaitsMax = std::chrono::hours{24 * 365};

class BeatRequest final : public LocalMessage {};

/// A turn of this process releases a beat, so that an idle node beats and a hung one does not.
class BeatProcess final : public Process {
 public:
  explicit BeatProcess(NodeInbox& inbox) : inbox_(inbox) {}
  void handle(Context&, Message) override { inbox_.turn_done(); }

 private:
  NodeInbox& inbox_;
};

net::Parts one_part(std::string bytes) {
  net::Parts parts;
  parts.emplace_back(std::move(bytes));
  return parts;
}

}  // namespace

// --- inbox ---

template <class Change>
void NodeInbox::change(Change&& apply) {
  bool wake = false;
  {
    const std::lock_guard lock{mutex_};
    apply(waiting_);
    wake = std::exchange(asleep_, false);
  }
  if (wake) waker_.notify();
}

void NodeInbox::push(Signal signal) {
  change([&](Taken& waiting) { waiting.signals.push_back(std::move(signal)); });
}
void NodeInbox::turn_done() {
  change([](Taken& waiting) { waiting.turn_done = true; });
}
void NodeInbox::records_wait() {
  change([](Taken& waiting) { waiting.records_wait = true; });
}
void NodeInbox::leave() {
  change([](Taken& waiting) { waiting.leave = true; });
}

NodeInbox::Taken NodeInbox::take() {
  const std::lock_guard lock{mutex_};
  asleep_ = false;
  return std::exchange(waiting_, {});
}

bool NodeInbox::may_sleep() {
  const std::lock_guard lock{mutex_};
  asleep_ =
      waiting_.signals.empty() && !waiting_.turn_done && !waiting_.records_wait && !waiting_.leave;
  return asleep_;
}

// --- loop ---

NodeLoop::NodeLoop(Settings settings, const Clock& clock, Scheduler& scheduler,
                   Directory& directory, NodeInbox& inbox, TimelineRecorder& recorder, Hooks hooks)
    : settings_(std::move(settings)),
      clock_(clock),
      scheduler_(scheduler),
      directory_(directory),
      inbox_(inbox),
      recorder_(recorder),
      hooks_(std::move(hooks)),
      beat_process_(scheduler.spawn(std::make_unique<BeatProcess>(inbox))),
      core_(settings_.core, Random{settings_.seed}) {}

NodeLoop::~NodeLoop() { stop(); }

Result<void> NodeLoop::start() {
  // Opened once here only to tell a wrong endpoint from an absent broker; the thread opens its own.
  auto probe = net::DealerSocket::connect(context_, settings_.endpoint, {});
  if (!probe) return tl::unexpected<Error>(std::move(probe.error()));
  thread_ = std::thread{[this] { run(); }};
  return {};
}

Result<void> NodeLoop::wait_joined(Duration timeout) {
  std::unique_lock lock{mutex_};
  changed_.wait_for(lock, std::min(timeout, kCallerWaitsMax), [this] { return joined_ || ended_; });
  if (joined_) return {};
  if (failure_) return tl::unexpected<Error>(*failure_);
  switch (contact_) {
    case Contact::kNothing:
      return fail(Errc::kNoBroker, "nothing answers at " + settings_.endpoint +
                                       ": start liminal-broker there, or name another endpoint "
                                       "with --broker");
    case Contact::kForeign:
      return fail(Errc::kNoBroker, "what answers at " + settings_.endpoint +
                                       " does not speak ZeroMQ: it is no broker");
    case Contact::kConnected:
      break;
  }
  return fail(Errc::kNoBroker, "something accepts connections at " + settings_.endpoint +
                                   " but does not answer as a broker does");
}

bool NodeLoop::wait_ended(Duration timeout) {
  std::unique_lock lock{mutex_};
  return changed_.wait_for(lock, std::min(timeout, kCallerWaitsMax), [this] { return ended_; });
}

std::optional<Error> NodeLoop::failure() const {
  const std::lock_guard lock{mutex_};
  return failure_;
}

void NodeLoop::stop() {
  if (!thread_.joinable()) return;
  inbox_.leave();
  thread_.join();
}

void NodeLoop::run() {
  ::pthread_setname_np(::pthread_self(), "liminal-net");
  carry_out(core_.start(clock_.now()));
  const auto ended = [this] {
    const std::lock_guard lock{mutex_};
    return ended_;
  };
  while (!ended()) turn();
  control_.reset();
  data_.reset();
}

void NodeLoop::turn() {
  // Descriptors may have been short before; they are tried again once a turn.
  if (control_wanted_ && !control_) open_control();
  if (data_wanted_ && !data_) open_data();
  std::vector<net::DealerSocket*> sockets;  // as receive() reads them
  if (data_) sockets.push_back(&*data_);
  if (control_) sockets.push_back(&*control_);
  const TimePoint before = clock_.now();
  const Duration asked = inbox_.may_sleep() ? time_to_wait(before) : Duration::zero();
  net::wait(sockets, inbox_.waker(), asked);

  const TimePoint now = clock_.now();
  // Data first: what a peer sent before it died is then read before the verdict on it.
  while (receive(now)) {
  }
  auto taken = inbox_.take();
  for (auto& signal : taken.signals) carry_out(core_.on_signal(std::move(signal), now));
  if (taken.turn_done) {
    const Load load = hooks_.load();
    carry_out(core_.on_turn(load.participants, load.conversations, now));
  }
  if (taken.records_wait && !records_due_) records_due_ = now + kRecordsInterval;
  if (taken.leave) {
    if (core_.joined()) spdlog::info("leaves");
    leaving_ = true;
    tell_records(now);  // before the end
    carry_out(core_.leave(now));
  }
  tell_records(now);
  carry_out(core_.advance(now));
  drain_outbox();
  if (data_outbox_.empty()) carry_out(core_.flush(now));
  sessions_.store(core_.sessions(), std::memory_order_relaxed);
  ties_.store(core_.ties(), std::memory_order_relaxed);
}

// Behind the beats, and not while the connection takes nothing; before leaving, all that there is.
void NodeLoop::tell_records(TimePoint now) {
  if (!core_.takes_records()) return;  // they wait, or nobody keeps them
  const bool due = records_due_ && now >= *records_due_ && control_outbox_.empty();
  if (!due && !leaving_) return;
  for (int i = 0; (i < kRecordFramesAtOnce || leaving_) && !recorder_.empty(); ++i) {
    carry_out(core_.on_records(recorder_.take()));
  }
  records_due_.reset();
  if (!recorder_.empty()) records_due_ = now + kRecordsInterval;
}

// One turn's worth of messages and events of both sockets; whether there is more to read before
// anything else is judged (an event that only shows when its socket is empty).
bool NodeLoop::receive(TimePoint now) {
  bool more = false;
  const auto each = [&](std::optional<net::DealerSocket>& socket, auto&& on_message) {
    for (int i = 0; socket && i < kMessagesPerTurnMax; ++i) {
      auto received = socket->try_receive();
      if (!received) {
        spdlog::warn("receiving from the broker: {}", received.error().detail);
        return;
      }
      if (!received->has_value()) return;
      on_message(**received);
    }
  };
  each(data_, [&](const net::Parts& parts) {
    if (parts.size() == 2) {
      carry_out(core_.on_frame(parts[0].view(), parts[1].view(), now));
    } else if (parts.size() == 1) {
      carry_out(core_.on_data_control(parts[0].view(), now));
    }
  });
  each(control_, [&](const net::Parts& parts) {
    if (parts.size() == 1) carry_out(core_.on_control(parts[0].view(), now));
  });
  if (control_) {
    if (const auto event = control_->try_event()) {
      more = true;
      switch (*event) {
        case net::DealerSocket::Event::kConnected:
          set_contact(Contact::kConnected);
          carry_out(core_.on_control_connected(now));
          break;
        case net::DealerSocket::Event::kHandshakeFailed:
          set_contact(Contact::kForeign);
          break;
        case net::DealerSocket::Event::kClosed:
          control_.reset();
          control_wanted_ = false;  // the core asks again if it wants one
          carry_out(core_.on_control_closed(now));
          break;
      }
    }
  }
  if (data_) {
    if (const auto event = data_->try_event()) {
      more = true;
      switch (*event) {
        case net::DealerSocket::Event::kConnected:
          carry_out(core_.on_data_connected(now));
          break;
        case net::DealerSocket::Event::kHandshakeFailed:
          break;
        case net::DealerSocket::Event::kClosed:
          data_.reset();
          data_wanted_ = false;
          data_outbox_.clear();  // the sessions send it again
          carry_out(core_.on_data_closed(now));
          break;
      }
    }
  }
  return more;
}

void NodeLoop::carry_out(NodeCore::Effects effects) {
  for (auto& effect : effects) {
    std::visit(
        [this](auto& e) {
          using Effect = std::decay_t<decltype(e)>;
          if constexpr (std::is_same_v<Effect, node_effect::OpenControl>) {
            control_outbox_.clear();
            control_wanted_ = true;
            open_control();
          } else if constexpr (std::is_same_v<Effect, node_effect::OpenData>) {
            data_outbox_.clear();
            data_wanted_ = true;
            open_data();
          } else if constexpr (std::is_same_v<Effect, node_effect::CloseData>) {
            data_outbox_.clear();
            data_wanted_ = false;
            data_.reset();
          } else if constexpr (std::is_same_v<Effect, node_effect::SendControl>) {
            control_outbox_.push_back(one_part(std::move(e.bytes)));
            drain_outbox();
          } else if constexpr (std::is_same_v<Effect, node_effect::SendOnData>) {
            send_data(one_part(std::move(e.bytes)));
          } else if constexpr (std::is_same_v<Effect, node_effect::SendFrame>) {
            net::Parts parts = one_part(std::move(e.header));
            parts.emplace_back(std::move(e.frame));
            send_data(std::move(parts));
          } else if constexpr (std::is_same_v<Effect, node_effect::Deliver>) {
            scheduler_.deliver(std::move(e.signal));
          } else if constexpr (std::is_same_v<Effect, node_effect::CertifyTurn>) {
            scheduler_.send_local(beat_process_, std::make_unique<BeatRequest>());
          } else if constexpr (std::is_same_v<Effect, node_effect::Publish>) {
            directory_.publish(std::move(e.snapshot));
          } else if constexpr (std::is_same_v<Effect, node_effect::Undeliverable>) {
            scheduler_.dead_letters().add(
                DeadLetter::of(e.cause, e.send.from, e.send.to, e.send.envelope, clock_.now()));
          } else if constexpr (std::is_same_v<Effect, node_effect::UndeliverableUnseen>) {
            scheduler_.dead_letters().add_unseen(e.cause, e.envelopes);
          } else if constexpr (std::is_same_v<Effect, node_effect::Joined> ||
                               std::is_same_v<Effect, node_effect::CancelConversation> ||
                               std::is_same_v<Effect, node_effect::Refused>) {
            carry_out(std::move(e));
          } else if constexpr (std::is_same_v<Effect, node_effect::Lease>) {
            if (hooks_.lease) hooks_.lease(e.until);
          } else if constexpr (std::is_same_v<Effect, node_effect::RecordsArrived>) {
            recorder_.arrived(e.up_to);
          } else if constexpr (std::is_same_v<Effect, node_effect::KeepRecords>) {
            recorder_.set_records_max(e.records_max);
            recorder_.connected(e.epoch, e.anew);
            records_due_ = clock_.now() + kRecordsInterval;
            if (e.anew && e.records_max > 0 && hooks_.retell) hooks_.retell();
          } else if constexpr (std::is_same_v<Effect, node_effect::Unsuitable>) {
            end(Error{Errc::kUsage, std::move(e.text)});
          } else if constexpr (std::is_same_v<Effect, node_effect::Interrupted>) {
            spdlog::warn("connection to the broker at {} lost; connecting again",
                         settings_.endpoint);
          } else if constexpr (std::is_same_v<Effect, node_effect::BrokerSilent>) {
            spdlog::warn("nothing heard for {:.0f} ms on a connection that stands: given up{}",
                         to_ms(e.last_heard), e.data_only ? " (that for data alone)" : "");
          } else if constexpr (std::is_same_v<Effect, node_effect::Fenced>) {
            recorder_.fenced(e.old_incarnation);
            spdlog::warn("fenced: {}; remote links broken, incarnation {} becomes {}", e.why,
                         to_hex(e.old_incarnation.value()), to_hex(e.fresh.value()));
          } else if constexpr (std::is_same_v<Effect, node_effect::RefusedForNow>) {
            spdlog::warn("the broker at {} refuses this node: {}; it joins again in {:.0f} ms",
                         settings_.endpoint, e.text, to_ms(e.again_in));
          } else if constexpr (std::is_same_v<Effect, node_effect::Left>) {
            end(std::nullopt);
          }
        },
        effect);
  }
}

void NodeLoop::carry_out(node_effect::Joined effect) {
  if (hooks_.joined) hooks_.joined();
  spdlog::info("{} the broker at {}: epoch {}, incarnation {}",
               effect.resumed ? "resumed with" : "joined", settings_.endpoint,
               to_hex(effect.epoch.value()), to_hex(effect.incarnation.value()));
  {
    const std::lock_guard lock{mutex_};
    joined_ = true;
  }
  changed_.notify_all();
}

void NodeLoop::carry_out(node_effect::CancelConversation effect) {
  const bool accepted = hooks_.cancel && hooks_.cancel(effect.conversation, effect.by);
  carry_out(core_.on_cancelled(effect.conversation, accepted));
}

void NodeLoop::carry_out(node_effect::Refused effect) {
  end(Error{Errc::kRefused, "the broker at " + settings_.endpoint + " refused node '" +
                                settings_.core.name.value() + "': " + effect.text});
}

void NodeLoop::end(std::optional<Error> failure) {
  {
    const std::lock_guard lock{mutex_};
    ended_ = true;
    failure_ = std::move(failure);
  }
  changed_.notify_all();
}

// Beats go over it: it must not be the last to notice that a cut healed.
void NodeLoop::open_control() { open(control_, true); }

void NodeLoop::open_data() { open(data_, false); }

void NodeLoop::open(std::optional<net::DealerSocket>& socket, bool steady_retries) {
  socket.reset();
  auto opened = net::DealerSocket::connect(context_, settings_.endpoint,
                                           {.zmtp_heartbeat_timeout = settings_.core.reap_after,
                                            .linger = std::chrono::milliseconds{100},
                                            .steady_retries = steady_retries});
  if (opened) {
    socket.emplace(std::move(*opened));
  } else {
    spdlog::error("cannot open a connection to {}: {}", settings_.endpoint, opened.error().detail);
  }
}

void NodeLoop::send_data(net::Parts parts) {
  data_outbox_.push_back(std::move(parts));
  drain_outbox();
}

void NodeLoop::drain_outbox() {
  const auto drain = [](std::optional<net::DealerSocket>& socket, std::deque<net::Parts>& outbox) {
    while (socket && !outbox.empty()) {
      const auto sent = socket->send(outbox.front());
      if (!sent && sent.error().code == Errc::kWouldBlock) return;
      if (!sent) spdlog::warn("sending to the broker: {}", sent.error().detail);
      outbox.pop_front();
    }
  };
  drain(control_, control_outbox_);
  drain(data_, data_outbox_);
}

Duration NodeLoop::time_to_wait(TimePoint now) const {
  if (!control_outbox_.empty() || !data_outbox_.empty()) return kRetryInterval;
  auto due = core_.next_deadline();
  if (records_due_ && core_.takes_records() && (!due || *records_due_ < *due)) due = records_due_;
  return due ? std::clamp(*due - now, Duration::zero(), kWaitMax) : kWaitMax;
}

void NodeLoop::set_contact(Contact contact) {
  const std::lock_guard lock{mutex_};
  contact_ = std::max(contact_, contact);
}

}  // namespace liminal
