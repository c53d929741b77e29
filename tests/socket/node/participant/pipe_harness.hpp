// A child that lives on, and what tests say to it.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "command_harness.hpp"

namespace liminal::test {

class Pipe {
 public:
  Pipe(CommandRunner& runner, PipeCommand command) {
    running_.emplace(runner.open(
        std::move(command), {.replied =
                                 [heard = heard_](Payload payload) {
                                   heard->add([&] { heard->replies.emplace_back(payload.view()); });
                                 },
                             .ended =
                                 [heard = heard_](std::optional<std::string> failure) {
                                   heard->add([&] {
                                     EXPECT_FALSE(heard->end) << "an end is told once";
                                     heard->end = failure.value_or("well");
                                   });
                                 }}));
  }

  void drop() { running_.reset(); }
  void send(std::string request, std::size_t reply_bytes_max = kOutputBytesMax) {
    running_->ask(Payload{std::move(request)}, reply_bytes_max);
  }
  /// "ok REPLY", or how it ended instead.
  [[nodiscard]] std::string reply() {
    std::unique_lock lock{heard_->mutex};
    if (!heard_->news.wait_for(lock, std::chrono::seconds{40},
                               [this] { return heard_->end || !heard_->replies.empty(); })) {
      return "hangs";
    }
    if (heard_->replies.empty()) return *heard_->end;
    std::string reply = "ok " + std::move(heard_->replies.front());
    heard_->replies.pop_front();
    return reply;
  }
  [[nodiscard]] std::string ask(std::string request,
                                std::size_t reply_bytes_max = kOutputBytesMax) {
    send(std::move(request), reply_bytes_max);
    return reply();
  }
  /// "well", or why not.
  [[nodiscard]] std::string end() {
    std::unique_lock lock{heard_->mutex};
    const bool ended = heard_->news.wait_for(lock, std::chrono::seconds{40},
                                             [this] { return heard_->end.has_value(); });
    return ended ? *heard_->end : "hangs";
  }
  [[nodiscard]] bool has_news() const {
    const std::lock_guard lock{heard_->mutex};
    return heard_->end || !heard_->replies.empty();
  }

 private:
  struct Heard {
    template <class Change>
    void add(Change change) {
      {
        const std::lock_guard lock{mutex};
        change();
      }
      news.notify_all();
    }

    std::mutex mutex;
    std::condition_variable news;
    std::deque<std::string> replies;
    std::optional<std::string> end;
  };

  std::shared_ptr<Heard> heard_ = std::make_shared<Heard>();
  std::optional<RunningPipe> running_;
};

class PipeTest : public CommandTest {
 protected:
  [[nodiscard]] PipeCommand pipe_command(std::string text) const {
    return {.text = std::move(text), .environment = {{"LIMINAL_TEST_MARK", mark}}};
  }
  [[nodiscard]] Pipe open(std::string text) { return {*runner, pipe_command(std::move(text))}; }
  /// What becomes of one request of one byte.
  [[nodiscard]] std::string ask_once(std::string text) { return open(std::move(text)).ask("?"); }
};

}  // namespace liminal::test
