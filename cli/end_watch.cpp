#include "cli/end_watch.hpp"

#include <mutex>
#include <optional>
#include <utility>

namespace liminal::cli {

struct EndWatch::Learned {
  explicit Learned(std::function<void()> the_over) : over(std::move(the_over)) {}

  void set(Error the_error) {
    {
      const std::lock_guard lock{mutex};
      if (!error) error = std::move(the_error);
    }
    over();
  }

  const std::function<void()> over;
  std::mutex mutex;
  std::optional<Error> error;  // GUARDED_BY mutex
};

/// The conversation's process ends when all is decided, whatever became of its participants.
class EndWatch::Monitor final : public Process {
 public:
  Monitor(ConversationHandle::Weak conversation, const Pid& process,
          std::shared_ptr<Learned> learned)
      : conversation_(std::move(conversation)), process_(process), learned_(std::move(learned)) {}

  void on_start(Context& context) override { (void)context.monitor(process_); }

  void handle(Context& context, Message message) override {
    if (!std::holds_alternative<message::Down>(message)) return;
    const auto conversation = conversation_.lock();
    auto failure = conversation ? conversation->query_state().failure : std::nullopt;
    learned_->set(
        std::move(failure).value_or(Error{Errc::kConversationFailed, "conversation closed"}));
    context.exit(ExitReason::normal());
  }

 private:
  ConversationHandle::Weak conversation_;  // a watch alone keeps nothing alive
  Pid process_;
  std::shared_ptr<Learned> learned_;
};

EndWatch::EndWatch(Scheduler& scheduler, const ConversationHandle& conversation,
                   std::function<void()> over)
    : learned_(std::make_shared<Learned>(std::move(over))),
      receiving_([&] {
        // No reply goes there: what comes is the end, at its very beginning; or that all
        // participants have left, which ends nothing.
        ConversationHandle handle = conversation;
        return handle.start_receive(std::nullopt, [learned = learned_](Outcome outcome) {
          if (outcome || outcome.error().code == Errc::kParticipantLeft) return;
          learned->set(std::move(outcome.error()));
        });
      }()),
      scheduler_(scheduler),
      monitor_(scheduler.spawn(
          std::make_unique<Monitor>(conversation.weak(), conversation.pid(), learned_))) {}

EndWatch::~EndWatch() {
  receiving_.cancel();
  scheduler_.exit(monitor_, ExitReason::kill());
}

Result<void> EndWatch::result() const {
  const std::lock_guard lock{learned_->mutex};
  if (learned_->error) return tl::unexpected<Error>(*learned_->error);
  return {};
}

}  // namespace liminal::cli
