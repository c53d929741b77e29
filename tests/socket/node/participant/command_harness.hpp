// A runner and what tests of it share.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <future>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "node/participant/command_runner.hpp"
#include "proc.hpp"

namespace liminal::test {

inline constexpr std::size_t kOutputBytesMax = 16 * 1024 * 1024;

/// A command under way, and its outcome.
class Call {
 public:
  Call(CommandRunner& runner, Command command) {
    auto promise = std::make_shared<std::promise<CommandOutcome>>();
    outcome_ = promise->get_future();
    running_.emplace(runner.run(std::move(command), [promise](CommandOutcome outcome) {
      promise->set_value(std::move(outcome));
    }));
  }

  void drop() { running_.reset(); }

  [[nodiscard]] bool has_ended() const {
    return outcome_.wait_for(std::chrono::seconds{0}) == std::future_status::ready;
  }

  /// "ok OUTPUT" or the failure.
  [[nodiscard]] std::string text() {
    if (outcome_.wait_for(std::chrono::seconds{40}) != std::future_status::ready) return "hangs";
    CommandOutcome outcome = outcome_.get();
    return outcome ? "ok " + std::string{outcome->view()} : outcome.error().text;
  }

 private:
  std::future<CommandOutcome> outcome_;
  std::optional<RunningCommand> running_;
};

class CommandTest : public ::testing::Test {
 protected:
  CommandTest()
      : mark(std::to_string(::getpid()) + "-" +
             ::testing::UnitTest::GetInstance()->current_test_info()->name()) {
    start({});
  }

  void start(CommandRunner::Settings settings) {
    runner.reset();
    auto started = CommandRunner::start(std::move(settings));
    if (!started) throw std::runtime_error(started.error().detail);
    runner = *std::move(started);
  }

  [[nodiscard]] Command command(std::string text, std::string input = {}) const {
    return {.text = std::move(text),
            .environment = {{"LIMINAL_TEST_MARK", mark}},
            .input = Payload{std::move(input)},
            .output_bytes_max = kOutputBytesMax};
  }

  /// With an extra input.
  [[nodiscard]] std::string run_with_extra(std::string text, std::string input, std::string extra) {
    Command made = command(std::move(text), std::move(input));
    made.extra_input = Payload{std::move(extra)};
    return Call{*runner, std::move(made)}.text();
  }

  [[nodiscard]] std::string run(std::string text, std::string input = {}) {
    return Call{*runner, command(std::move(text), std::move(input))}.text();
  }

  /// Those that sleep for this test.
  [[nodiscard]] std::size_t sleepers() const { return marked(mark, "sleep").size(); }
  [[nodiscard]] bool all_are_gone() const {
    return eventually([this] { return marked(mark).empty(); });
  }

  /// Fails, and is no number that anything can be sent to, if there is none.
  [[nodiscard]] static pid_t minder() {
    for (const auto& child : children_of(::getpid())) {
      if (child.name == "liminal-minder" && child.state != 'Z') return child.pid;
    }
    ADD_FAILURE() << "there is no liminal-minder";
    return std::numeric_limits<pid_t>::max();
  }

  std::string mark;
  std::unique_ptr<CommandRunner> runner;
};

}  // namespace liminal::test
