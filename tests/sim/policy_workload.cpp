#include "tests/sim/policy_workload.hpp"

#include <set>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "common/base/text.hpp"
#include "node/participant/participant_process.hpp"

namespace liminal::sim {
namespace {

using namespace std::chrono_literals;

constexpr int kWindow = 2;
constexpr std::size_t kParticipantsMax = 1'000'000;  // no bound is tried here

class Worked final : public LocalMessage {
 public:
  explicit Worked(std::uint64_t the_number) : number(the_number) {}
  std::uint64_t number;
};
class Interrupted final : public LocalMessage {
 public:
  explicit Interrupted(std::uint64_t the_number) : number(the_number) {}
  std::uint64_t number;
};

/// The work of a participant: takes its time, then says so.
class Work final : public Process {
 public:
  Work(Pid boss, std::uint64_t number, Duration length)
      : boss_(std::move(boss)), number_(number), length_(length) {}
  void on_start(Context& context) override { (void)context.start_timer(length_); }
  void handle(Context& context, Message) override {
    context.send_local(boss_, std::make_unique<Worked>(number_));
    context.exit(ExitReason::normal());
  }

 private:
  Pid boss_;
  std::uint64_t number_;
  Duration length_;
};

/// Has one effect for each request, at the beginning or at the end of its work.
class PolicyParticipant final : public ParticipantProcess {
 public:
  PolicyParticipant(ParticipantSlot slot, PolicyStage& stage, std::size_t node)
      : ParticipantProcess(std::move(slot)), stage_(stage), node_(node) {}

 protected:
  void begin(Context& context, const Request& request) override {
    const Order order = Order::in(request.payload);
    start(context, {.request = request.id,
                    .id = request.id,
                    .attempt = request.attempt,
                    .conversation = request.conversation,
                    .order = order});
    if (order.conversation != request.conversation) {
      stage_.violations->add("conversation " + to_string(request.conversation) + ": a request of " +
                             to_string(order.conversation));
    }
    note(context, Deed::What::kBegun);
    if (order.poison) die(context, "poison");
    if (context.random().below(2) == 0) have_effect(context);
    work(context, order.work);
  }

  void begin_undo(Context& context, const Compensation& undo) override {
    start(context, {.request = undo.request.id,
                    .id = undo.id,
                    .attempt = undo.attempt,
                    .conversation = undo.request.conversation,
                    .order = Order::in(undo.request.payload),
                    .undoes = true});
    if (undo.reply && undo.reply->view() != task_.order.reply()) {
      stage_.violations->add("conversation " + to_string(undo.request.conversation) +
                             ": a compensation with the reply to another request");
    }
    note(context, Deed::What::kUndoing);
    if (task_.order.stubborn) die(context, "stubborn");
    work(context, Duration{static_cast<Duration::rep>(context.random().below(100'000'000))});
  }

  // What had its effect goes on to its end; what had none never will.
  void interrupt(Context& context) override {
    if (task_.undoes || task_.effected) return;
    context.send_local(context.self(), std::make_unique<Interrupted>(task_.number));
  }

  bool on_local(Context& context, LocalMessage& message) override {
    if (const auto* worked = dynamic_cast<Worked*>(&message)) {
      if (worked->number == task_.number) complete(context);
      return true;
    }
    if (const auto* interrupted = dynamic_cast<Interrupted*>(&message)) {
      if (interrupted->number != task_.number || task_.effected) return true;
      task_.number = 0;  // its work means nothing any more
      never_began(context);
      return true;
    }
    return false;
  }

 private:
  enum class Fate : std::uint8_t { kFine, kCrashesBefore, kCrashesAfter };
  struct Task {
    MessageId request;
    MessageId id;
    std::uint32_t attempt;
    ConversationId conversation;
    Order order;
    bool undoes = false;
    bool effected = false;
    Fate fate = Fate::kFine;
    std::uint64_t number = 0;
  };

  void start(Context& context, Task task) {
    task_ = std::move(task);
    task_.number = ++tasks_;
    if (!stage_.unlucky) return;
    switch (context.random().below(task_.undoes ? 16 : 40)) {
      case 0:
        task_.fate = Fate::kCrashesBefore;
        return;
      case 1:
        task_.fate = Fate::kCrashesAfter;
        return;
      default:
        return;
    }
  }

  void work(Context& context, Duration length) {
    if (length == Duration::zero()) return complete(context);
    (void)context.spawn_link(std::make_unique<Work>(context.self(), task_.number, length));
  }

  void complete(Context& context) {
    task_.number = 0;
    if (task_.fate == Fate::kCrashesBefore) die(context, "unlucky");
    have_effect(context);
    if (task_.fate == Fate::kCrashesAfter) die(context, "unlucky, afterwards");
    if (task_.undoes) return finish(context, std::nullopt);
    finish(context, Payload{task_.order.reply()});
  }

  void have_effect(Context& context) {
    if (std::exchange(task_.effected, true)) return;
    note(context, task_.undoes ? Deed::What::kUndone : Deed::What::kEffect);
  }

  void note(Context& context, Deed::What what) {
    if (!stage_.lives(node_)) return;
    stage_.ledger.push_back({what, task_.request, task_.id, task_.attempt, task_.conversation,
                             node_, context.self(), context.now()});
    stage_.watch(stage_.ledger.back());
  }

  [[noreturn]] void die(Context& context, const char* why) {
    note(context, Deed::What::kDied);
    throw std::runtime_error(why);
  }

  PolicyStage& stage_;
  std::size_t node_;
  Task task_{MessageId{0, 0}, MessageId{0, 0}, 0, ConversationId{0, 0}, Order{{0, 0}, 0}};
  std::uint64_t tasks_ = 0;
};

class PolicyTalkProcess final : public Process {
 public:
  PolicyTalkProcess(std::shared_ptr<PolicyTalk> record, PolicyStage& stage,
                    ConversationSupervisor& supervisor, PolicyPlan plan)
      : record_(std::move(record)),
        stage_(stage),
        violations_(stage.violations),
        supervisor_(supervisor),
        plan_(std::move(plan)) {}

  void on_start(Context& context) override {
    if (!stage_.lives(record_->node)) return;
    auto handle = supervisor_.spawn(plan_.config);
    if (!handle) {
      record_->not_opened = handle.error();
      return over(context);
    }
    handle_ = handle->handle();
    record_->id = handle_->id();
    record_->open = handle_;
    record_->ending = plan_.ending;
    for (const ParticipantConfig& participant : plan_.config.participants) {
      const auto counted = handle_->on_exit(
          participant.role, [record = record_, role = participant.role](const ParticipantExit&) {
            ++record->exits_told[role];
          });
      if (!counted) violations_->add("an exit notifier was refused: " + counted.error().detail);
    }
    if (plan_.ending != PolicyTalk::Ending::kClose) {
      end_timer_ = context.start_timer(plan_.end_after);
    }
    for (int i = 0; i < kWindow; ++i) send_next(context);
  }

  void handle(Context& context, Message message) override {
    if (!stage_.lives(record_->node)) return;
    if (const auto* fired = std::get_if<message::TimerFired>(&message)) {
      fired->timer == end_timer_ ? end_early(context) : send_next(context);
    } else if (auto* local = std::get_if<LocalMessagePtr>(&message)) {
      if (auto* outcome = dynamic_cast<ConversationOutcome*>(local->get())) {
        on_outcome(context, *outcome);
      }
    }
  }

 private:
  static constexpr std::uint64_t kCloseTag = 0;
  static constexpr std::uint64_t kAgain = std::uint64_t{1} << 32;  // a second receive of one

  void send_next(Context& context) {
    if (closing_ || sent_ == plan_.requests) return;
    const int number = ++sent_;
    Order order{
        .conversation = handle_->id(), .number = number, .poison = number == plan_.poisoned};
    Random& random = context.random();
    if (plan_.work_max > Duration::zero() && random.below(3) != 0) {
      const auto bound = static_cast<std::uint64_t>(plan_.work_max.count());
      order.work = Duration{static_cast<Duration::rep>(1 + random.below(bound))};
      if (random.below(4) != 0) order.work /= 16;
    }
    order.stubborn = plan_.stubborn_one_in > 0 &&
                     random.below(static_cast<std::uint64_t>(plan_.stubborn_one_in)) == 0;
    record_->poisoned |= order.poison;
    const auto& roles = plan_.config.participants;
    SendOptions options{.role = roles[random.below(roles.size())].role,
                        .reply = ReplyMode::kCorrelated};
    if (plan_.stubborn_one_in > 0 && random.below(12) == 0) options.deadline = 400ms;
    const MessageId id =
        handle_->start_send(order.to_payload(), std::move(options), [](const auto&) {});
    record_->requests[id].stubborn = order.stubborn;
    ids_.push_back(id);
    const auto tag = static_cast<std::uint64_t>(number);
    open_.insert(tag);
    pending_.push_back(handle_->start_receive(id, handle_->tell(context.self(), tag)));
  }

  void on_outcome(Context& context, ConversationOutcome& outcome) {
    if (outcome.tag == kCloseTag) {
      record_->end = handle_->query_state();
      return over_if_all_told(context);
    }
    if (outcome.tag >= kAgain) {
      if (outcome.outcome) {
        violations_->add("conversation " + to_string(*record_->id) +
                         ": a reply was handed out twice");
      };
      return;
    }
    if (open_.erase(outcome.tag) == 0) violations_->add("two outcomes of one request");
    const MessageId id = ids_[outcome.tag - 1];
    auto& request = record_->requests[id];
    ++request.outcomes;
    if (outcome.outcome) {
      ++request.replies;
      const Order asked{.conversation = *record_->id, .number = static_cast<int>(outcome.tag)};
      if (outcome.outcome->view() != asked.reply()) {
        violations_->add("conversation " + to_string(*record_->id) + ": request " +
                         std::to_string(outcome.tag) + " got the reply to another, " +
                         std::string{outcome.outcome->view()});
      }
    } else {
      request.error = outcome.outcome.error().code;
    }
    if (closing_) return over_if_all_told(context);
    if (context.random().below(4) == 0) {
      pending_.push_back(
          handle_->start_receive(id, handle_->tell(context.self(), kAgain + outcome.tag)));
    }
    if (open_.empty() && sent_ == plan_.requests && plan_.ending != PolicyTalk::Ending::kOrphan) {
      return close(context);
    }
    (void)context.start_timer(
        Duration{static_cast<Duration::rep>(1 + context.random().below(200'000'000))});
  }

  void end_early(Context& context) {
    if (closing_) return;
    switch (plan_.ending) {
      case PolicyTalk::Ending::kCancel:
        handle_->cancel("the drill");
        return close(context);
      case PolicyTalk::Ending::kOrphan:
        pending_.clear();
        handle_.reset();
        return over(context);
      case PolicyTalk::Ending::kClose:
      case PolicyTalk::Ending::kCloseEarly:
        return close(context);
    }
  }

  void close(Context& context) {
    closing_ = true;
    pending_.push_back(handle_->start_close(handle_->tell(context.self(), kCloseTag)));
  }

  /// What its conversation's end leaves unreceived may be told behind that end.
  void over_if_all_told(Context& context) {
    if (record_->end && open_.empty()) over(context);
  }

  void over(Context& context) {
    record_->over = true;
    record_->open.reset();
    pending_.clear();
    handle_.reset();
    context.exit(ExitReason::normal());
  }

  std::shared_ptr<PolicyTalk> record_;
  const PolicyStage& stage_;
  std::shared_ptr<Violations> violations_;
  ConversationSupervisor& supervisor_;
  PolicyPlan plan_;
  std::optional<ConversationHandle> handle_;
  std::vector<ConversationHandle::Pending> pending_;
  std::vector<MessageId> ids_;  // by number, from 1
  std::set<std::uint64_t> open_;
  std::optional<TimerId> end_timer_;
  int sent_ = 0;
  bool closing_ = false;
};

}  // namespace

Payload Order::to_payload() const {
  return Payload{std::to_string(conversation.high) + ' ' + std::to_string(conversation.low) + ' ' +
                 std::to_string(number) + ' ' + std::to_string(work.count()) + ' ' +
                 std::to_string(poison) + ' ' + std::to_string(stubborn)};
}

std::string Order::reply() const {
  return 'r' + std::to_string(number) + ' ' + to_string(conversation);
}

Order Order::in(const Payload& payload) {
  std::istringstream text{std::string{payload.view()}};
  Order order{{0, 0}, 0};
  Duration::rep work = 0;
  text >> order.conversation.high >> order.conversation.low >> order.number >> work >>
      order.poison >> order.stubborn;
  order.work = Duration{work};
  return order;
}

ServiceName policy_service(std::size_t number) { return ServiceName{"s" + std::to_string(number)}; }

Result<Scheduler::Instance> make_policy_service(const signal::SpawnRequest& request,
                                                PolicyStage& stage, std::size_t node,
                                                const std::shared_ptr<ParticipantLedger>& ledger) {
  auto slot = ParticipantSlot::take(ledger, kParticipantsMax);
  return Scheduler::Instance{std::make_unique<PolicyParticipant>(std::move(*slot), stage, node),
                             request.service != policy_service(kPolicyServices - 1)};
}

std::unique_ptr<Process> make_policy_attached(PolicyStage& stage, std::size_t node,
                                              const std::shared_ptr<ParticipantLedger>& ledger) {
  auto slot = ParticipantSlot::take(ledger, kParticipantsMax);
  return std::make_unique<PolicyParticipant>(std::move(*slot), stage, node);
}

std::unique_ptr<Process> make_policy_talk(std::shared_ptr<PolicyTalk> record, PolicyStage& stage,
                                          ConversationSupervisor& supervisor, PolicyPlan plan) {
  return std::make_unique<PolicyTalkProcess>(std::move(record), stage, supervisor, std::move(plan));
}

}  // namespace liminal::sim
