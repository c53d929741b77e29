// The OS processes of a run, and what their threads cost.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace liminal::bench {

/// What a child has to talk to its parent through.
class ChildLine {
 public:
  explicit ChildLine(int fd) : fd_(fd) {}
  void say(const std::string& line) const;

 private:
  int fd_;
};

/// A forked child, or one that executes a program; killed and waited for by the destructor. It dies
/// with its parent, and one that ends by itself ends the whole run.
///
/// REQUIRES: the parent has no other threads.
class Child {
 public:
  /// Runs `body` in the child, which then ends. With `core` it and all its threads stay there.
  Child(std::optional<int> core, const std::function<void(const ChildLine&)>& body);
  /// Runs a program, whose stdout are the lines.
  Child(std::optional<int> core, const std::vector<std::string>& command);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// The next line that it said; ends this program, with its reason, if there is none.
  [[nodiscard]] std::string line();
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  void start(std::optional<int> core, const std::function<void(int)>& body);

  pid_t pid_ = -1;
  int fd_ = -1;
  std::string read_;  // not yet a line
};

/// What one thread had used at some moment.
struct ThreadUse {
  std::string name;
  pid_t id;
  std::uint64_t cpu_ns;
  std::uint64_t slices;  // times it was put onto a core
};
[[nodiscard]] std::vector<ThreadUse> threads_of(pid_t process);

/// The cores that this process may use.
[[nodiscard]] std::vector<int> cores();

/// Says why on stderr and ends this process.
[[noreturn]] void give_up(const std::string& why);

}  // namespace liminal::bench
