// Calls on a conversation that a Task awaits: what ConversationHandle's ..._async() return.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "node/conversation/conversation_handle.hpp"
#include "node/scheduler/task.hpp"

namespace liminal {

/// Made by a handle, awaited at once, in a process whose TaskHost gets its ConversationOutcomes.
/// Destroyed while it waits, it gives the call up; see ConversationHandle::Pending::cancel().
class ConversationCall : public Wait {
 public:
  ~ConversationCall() override;

 protected:
  using Completion = ConversationHandle::Completion;
  using Pending = ConversationHandle::Pending;

  ConversationCall(ConversationHandle conversation, Duration timeout)
      : conversation_(std::move(conversation)), timeout_(timeout) {}

  /// Makes the call. nullopt: it cannot be given up.
  [[nodiscard]] virtual std::optional<Pending> start(ConversationHandle& conversation,
                                                     Completion completion,
                                                     const TaskHost::Origin& origin,
                                                     TimePoint now) = 0;
  /// What did not come in time.
  [[nodiscard]] virtual const char* awaited() const = 0;

  [[nodiscard]] Outcome& outcome() { return *outcome_; }
  [[nodiscard]] Duration timeout() const { return timeout_; }
  /// Of what is sent, what the caller left open: the cause, the trace, the bound on its time.
  [[nodiscard]] static SendOptions of_origin(SendOptions options, const TaskHost::Origin& origin,
                                             TimePoint now);

 private:
  bool begin(Context& context, TaskHost& host) final;
  bool on_local(LocalMessage& message) final;
  bool on_timer() final;

  ConversationHandle conversation_;
  Duration timeout_;
  std::uint64_t tag_ = 0;
  std::optional<Pending> pending_;
  std::optional<Outcome> outcome_;
};

class AskCall final : public ConversationCall {
 public:
  AskCall(ConversationHandle conversation, Payload payload, Duration timeout, SendOptions options)
      : ConversationCall(std::move(conversation), timeout),
        payload_(std::move(payload)),
        options_(std::move(options)) {}
  [[nodiscard]] Result<Payload> await_resume() { return std::move(outcome()); }

 private:
  std::optional<Pending> start(ConversationHandle& conversation, Completion completion,
                               const TaskHost::Origin& origin, TimePoint now) override;
  const char* awaited() const override { return "reply"; }

  Payload payload_;
  SendOptions options_;
};

class SendCall final : public ConversationCall {
 public:
  SendCall(ConversationHandle conversation, Payload payload, SendOptions options, Duration timeout)
      : ConversationCall(std::move(conversation), timeout),
        payload_(std::move(payload)),
        options_(std::move(options)) {}
  [[nodiscard]] Result<MessageId> await_resume();

 private:
  std::optional<Pending> start(ConversationHandle& conversation, Completion completion,
                               const TaskHost::Origin& origin, TimePoint now) override;
  const char* awaited() const override { return awaited_.c_str(); }

  Payload payload_;
  SendOptions options_;
  std::optional<MessageId> id_;
  std::string awaited_;
};

class ReceiveCall final : public ConversationCall {
 public:
  ReceiveCall(ConversationHandle conversation, std::optional<MessageId> request, Duration timeout)
      : ConversationCall(std::move(conversation), timeout), request_(request) {}
  [[nodiscard]] Result<Payload> await_resume() { return std::move(outcome()); }

 private:
  std::optional<Pending> start(ConversationHandle& conversation, Completion completion,
                               const TaskHost::Origin& origin, TimePoint now) override;
  const char* awaited() const override { return "reply"; }

  std::optional<MessageId> request_;
};

class CloseCall final : public ConversationCall {
 public:
  CloseCall(ConversationHandle conversation, Duration timeout)
      : ConversationCall(std::move(conversation), timeout) {}
  [[nodiscard]] Result<void> await_resume();

 private:
  std::optional<Pending> start(ConversationHandle& conversation, Completion completion,
                               const TaskHost::Origin& origin, TimePoint now) override;
  const char* awaited() const override { return "end"; }
};

}  // namespace liminal
