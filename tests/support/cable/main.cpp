// A bad cable: what comes from each of two taps leaves by the other, later, or not at all.
//
// usage: liminal-bad-cable HOST_TAP SWITCH_TAP SEED
//
// Says `ready` when both are there. Then each line of stdin is answered by one of stdout:
//   impair WAY DELAY_NS JITTER_NS LOSS REORDER REORDER_BY_NS DUPLICATE    ok
//   counts WAY                                TAKEN LOST REFUSED REORDERED DUPLICATED
// WAY is `to` (the host) or `from` (it); shares are percents. Anything else: `error: ...`.
// Ends with 0 at the end of stdin, so with whoever held the other end; 1 where there are no taps.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <sstream>
#include <string>

#include "tests/support/delay_line.hpp"

namespace liminal::test {
namespace {

constexpr std::size_t kFrameBytesMax = 65536;
constexpr std::size_t kFramesMax = 16384;  // of 1,514 bytes: 24 MB
constexpr int kFramesPerTurnMax = 64;      // so that the frames whose time has come get theirs

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "liminal-bad-cable: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

int open_tap(const std::string& name) {
  const int tap = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tap < 0) give_up("/dev/net/tun");
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (name.size() >= sizeof request.ifr_name) give_up("the name is too long: " + name);
  name.copy(request.ifr_name, name.size());
  if (::ioctl(tap, TUNSETIFF, &request) != 0) give_up("tap " + name);
  return tap;
}

TimePoint now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);  // what the timer counts by
  return TimePoint{std::chrono::seconds{time.tv_sec} + std::chrono::nanoseconds{time.tv_nsec}};
}

struct Way {
  int from;
  int to;
  DelayLine line;
};

class Cable {
 public:
  Cable(const std::string& host, const std::string& outside, std::uint64_t seed)
      : host_(open_tap(host)),
        outside_(open_tap(outside)),
        to_{outside_, host_, DelayLine{2 * seed, kFramesMax}},
        from_{host_, outside_, DelayLine{2 * seed + 1, kFramesMax}},
        timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)),
        poll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (timer_ < 0 || poll_ < 0) give_up("no descriptors");
    ::fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    for (const int fd : {STDIN_FILENO, host_, outside_, timer_}) {
      epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
      if (::epoll_ctl(poll_, EPOLL_CTL_ADD, fd, &event) != 0) give_up("no descriptors");
    }
  }

  void run() {
    std::cout << "ready" << std::endl;
    while (true) {
      set_timer();
      std::array<epoll_event, 4> events;
      const int ready = ::epoll_wait(poll_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < ready; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd == STDIN_FILENO && !obey()) return;
        if (fd == timer_) read_timer();
        if (fd == to_.from) receive(to_);
        if (fd == from_.from) receive(from_);
      }
      send(to_);
      send(from_);
    }
  }

 private:
  void receive(Way& way) {
    for (int i = 0; i < kFramesPerTurnMax; ++i) {
      const ssize_t got = ::read(way.from, buffer_.data(), buffer_.size());
      if (got <= 0) return;
      way.line.take({buffer_.data(), static_cast<std::size_t>(got)}, now());
    }
  }

  // What the other tap does not take, since it is down or full, is lost as on any cable.
  static void send(Way& way) {
    const TimePoint time = now();
    while (const auto frame = way.line.next(time)) {
      [[maybe_unused]] const auto put = ::write(way.to, frame->data(), frame->size());
    }
  }

  void set_timer() {
    const auto to = to_.line.next_deadline().value_or(TimePoint::max());
    const auto from = from_.line.next_deadline().value_or(TimePoint::max());
    const TimePoint next = std::min(to, from);
    if (next == set_for_) return;
    set_for_ = next;
    itimerspec at{};  // zeros: never
    if (next != TimePoint::max()) {
      const auto since = next.time_since_epoch();
      at.it_value.tv_sec = since / std::chrono::seconds{1};
      at.it_value.tv_nsec = (since % std::chrono::seconds{1}).count();
    }
    ::timerfd_settime(timer_, TFD_TIMER_ABSTIME, &at, nullptr);
  }

  void read_timer() {
    std::uint64_t times = 0;
    [[maybe_unused]] const auto got = ::read(timer_, &times, sizeof times);
  }

  // False at the end.
  bool obey() {
    const ssize_t got = ::read(STDIN_FILENO, buffer_.data(), buffer_.size());
    if (got == 0 || (got < 0 && errno != EAGAIN)) return false;
    if (got > 0) said_.append(buffer_.data(), static_cast<std::size_t>(got));
    for (std::size_t end; (end = said_.find('\n')) != std::string::npos; said_.erase(0, end + 1)) {
      std::cout << answer(said_.substr(0, end)) << std::endl;
    }
    return true;
  }

  std::string answer(const std::string& line) {
    std::istringstream words{line};
    std::string verb, way_name;
    words >> verb >> way_name;
    if (way_name != "to" && way_name != "from") return "error: no such way: " + line;
    DelayLine& way = (way_name == "to" ? to_ : from_).line;
    if (verb == "counts") {
      const auto& counts = way.counts();
      std::ostringstream text;
      text << counts.taken << ' ' << counts.lost << ' ' << counts.refused << ' ' << counts.reordered
           << ' ' << counts.duplicated;
      return text.str();
    }
    Duration::rep delay = 0, jitter = 0, reorder_by = 0;
    Impairment impairment;
    words >> delay >> jitter >> impairment.loss_percent >> impairment.reorder_percent >>
        reorder_by >> impairment.duplicate_percent;
    if (verb != "impair" || !words || delay < 0 || jitter < 0 || reorder_by < 0) {
      return "error: cannot do: " + line;
    }
    impairment.delay = Duration{delay};
    impairment.jitter = Duration{jitter};
    impairment.reorder_by = Duration{reorder_by};
    way.impair(impairment);
    return "ok";
  }

  int host_;
  int outside_;
  Way to_;
  Way from_;
  int timer_;
  int poll_;
  TimePoint set_for_ = TimePoint::max();
  std::string said_;
  std::array<char, kFrameBytesMax> buffer_;
};

}  // namespace
}  // namespace liminal::test

int main(int count, char** words) {
  if (count != 4) {
    std::fprintf(stderr, "usage: liminal-bad-cable HOST_TAP SWITCH_TAP SEED\n");
    return 2;
  }
  liminal::test::Cable{words[1], words[2], std::strtoull(words[3], nullptr, 10)}.run();
  return 0;
}
