// Whether the calling thread is one that runs processes: then it must not wait for any of them.
#pragma once

namespace liminal {

/// True in a process's turn, in everything that it calls, and throughout run_until_idle(), whose
/// thread does all the work there is. False on the pool for blocking work, and elsewhere.
[[nodiscard]] bool is_in_turn() noexcept;

/// Says so of the calling thread, for as long as it lives.
class InTurn {
 public:
  InTurn() noexcept;
  ~InTurn();
  InTurn(const InTurn&) = delete;
  InTurn& operator=(const InTurn&) = delete;

 private:
  const bool before_;
};

}  // namespace liminal
