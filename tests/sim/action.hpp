// What is to happen, kept until it does: a callable that is called and moved, never copied.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace liminal::sim {

/// What std::function<void()> is, for callables that need not be copied. Those of kInlineBytes at
/// most cost no allocation: a simulated run keeps millions for a while, one for each message.
///
/// REQUIRES of a call: that it was not moved from.
class Action {
 public:
  static constexpr std::size_t kInlineBytes = 80;

  template <std::invocable Callable>
  requires(!std::same_as<std::remove_cvref_t<Callable>, Action>)
      Action(Callable callable) {  // NOLINT(google-explicit-constructor): a callable is one
    if constexpr (fits<Callable>) {
      ::new (static_cast<void*>(room_)) Callable(std::move(callable));
      kind_ = &kKindOf<Callable>;
    } else {
      auto call = [held = std::make_unique<Callable>(std::move(callable))] { (*held)(); };
      ::new (static_cast<void*>(room_)) decltype(call)(std::move(call));
      kind_ = &kKindOf<decltype(call)>;
    }
  }
  Action(Action&& other) noexcept : kind_(std::exchange(other.kind_, nullptr)) {
    if (kind_ != nullptr) kind_->move(other.room_, room_);
  }
  Action& operator=(Action&& other) noexcept {
    if (this == &other) return *this;
    this->~Action();
    return *::new (static_cast<void*>(this)) Action(std::move(other));
  }
  Action(const Action&) = delete;
  Action& operator=(const Action&) = delete;
  ~Action() {
    if (kind_ != nullptr) kind_->destroy(room_);
  }

  void operator()() { kind_->call(room_); }

 private:
  template <class Callable>
  static constexpr bool fits = sizeof(Callable) <= kInlineBytes &&
                               alignof(Callable) <= alignof(std::max_align_t) &&
                               std::is_nothrow_move_constructible_v<Callable>;
  struct Kind {
    void (*call)(void* callable);
    void (*move)(void* from, void* to) noexcept;  // and destroys what it was moved from
    void (*destroy)(void* callable) noexcept;
  };
  template <class Callable>
  static constexpr Kind kKindOf{
      [](void* callable) { (*static_cast<Callable*>(callable))(); },
      [](void* from, void* to) noexcept {
        ::new (to) Callable(std::move(*static_cast<Callable*>(from)));
        static_cast<Callable*>(from)->~Callable();
      },
      [](void* callable) noexcept { static_cast<Callable*>(callable)->~Callable(); }};

  const Kind* kind_;  // null: moved from
  alignas(std::max_align_t) std::byte room_[kInlineBytes];
};

}  // namespace liminal::sim
