// Runs scripts on Erlang/OTP: a pair of its nodes that are started once.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/result.hpp"
#include "tests/oracle/script.hpp"
#include "tests/oracle/trace.hpp"

namespace liminal::oracle {

/// One `erl` with its standard input and output. It ends when either end of its pipes does; the
/// destructor kills it and waits.
class ErlangProcess {
 public:
  /// Errors: kTransport.
  [[nodiscard]] static Result<ErlangProcess> start(const std::vector<std::string>& arguments);
  ErlangProcess(ErlangProcess&& from) noexcept;
  ErlangProcess& operator=(ErlangProcess&& from) noexcept;
  ~ErlangProcess();

  /// False: it is gone.
  [[nodiscard]] bool write(std::string_view text);
  /// Without its end; nullopt: it is gone, or silent for a minute.
  [[nodiscard]] std::optional<std::string> read_line();
  /// SIGKILL, and waits for it.
  void kill();

 private:
  ErlangProcess(pid_t pid, int to, int from) : pid_(pid), to_(to), from_(from) {}

  pid_t pid_ = -1;
  int to_ = -1, from_ = -1;
  std::string read_;  // and not handed out
};

class ErlangSide {
 public:
  /// `beams`: the folder of the compiled modules. Errors: kTransport.
  [[nodiscard]] static Result<ErlangSide> start(std::string beams);

  /// A run that breaks says so in the trace; the next one has new nodes.
  [[nodiscard]] Trace run(const Script& script);

 private:
  explicit ErlangSide(std::string beams) : beams_(std::move(beams)) {}
  [[nodiscard]] Result<void> start_missing();
  [[nodiscard]] Trace broken(std::string why);

  std::string beams_;
  std::string cookie_;
  int twos_ = 0;  // started so far
  std::optional<ErlangProcess> one_, two_;
};

}  // namespace liminal::oracle
