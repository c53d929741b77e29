#include "tests/sim/last_words.hpp"

#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>

// Of the sanitizers' runtime; null without one.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace liminal::sim {
namespace {

constexpr std::size_t kWordsMax = 1000;

// Signal handlers reach nothing else: written between storms, read at death.
char words[kWordsMax + 1];
volatile std::sig_atomic_t finished = 0;
volatile std::sig_atomic_t finished_before = -1;
volatile std::sig_atomic_t spoke = 0;

void say(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void speak() {
  if (words[0] == '\0' || spoke != 0) return;
  spoke = 1;
  say("again: ");
  say({words, std::strlen(words)});
  say("\n");
}

void on_death(int number) {
  speak();
  std::signal(number, SIG_DFL);
  ::raise(number);
}

void on_alarm(int) {
  if (words[0] == '\0' || finished != finished_before) {
    finished_before = finished;
    return;
  }
  say("an event does not return, or one follows another at the same instant for ever\n");
  std::abort();
}

void on(int number, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  ::sigaction(number, &action, nullptr);
}

}  // namespace

void speak_at_death(int stuck_after) {
  on(SIGABRT, on_death);
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(speak);  // it has its own handlers of the others, and reports
  } else {
    for (const int number : {SIGSEGV, SIGBUS, SIGFPE}) on(number, on_death);
  }
  on(SIGALRM, on_alarm);
  const itimerval every{.it_interval = {stuck_after, 0}, .it_value = {stuck_after, 0}};
  ::setitimer(ITIMER_REAL, &every, nullptr);
}

void set_last_words(const std::string& text) {
  const std::size_t length = std::min(text.size(), kWordsMax);
  std::memcpy(words, text.data(), length);
  words[length] = '\0';
  still_running();
}

void still_running() noexcept { finished = (finished + 1) & 0xFFFF; }

}  // namespace liminal::sim
