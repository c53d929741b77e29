#include "bare_ends.hpp"

#include <unistd.h>
#include <zmq.h>

#include <cstdio>
#include <cstring>
#include <deque>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>

#include "common/wire/codec.hpp"

namespace liminal::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kServerGreeting = "server";
constexpr int kQueuedMax = 100'000;

struct Identity {
  NodeName name;
  Incarnation incarnation;
};
Identity client() { return {NodeName{"client"}, Incarnation{0x1020304050607080}}; }
Identity server() { return {NodeName{"server"}, Incarnation{0x8070605040302010}}; }

void expect(bool holds, const char* what) {
  if (!holds) give_up(std::string{what} + ": " + zmq_strerror(zmq_errno()));
}

class Context {
 public:
  Context() : handle_(zmq_ctx_new()) {}
  [[nodiscard]] void* open(int type) {
    void* socket = zmq_socket(handle_, type);
    for (const int option : {ZMQ_SNDHWM, ZMQ_RCVHWM}) {
      zmq_setsockopt(socket, option, &kQueuedMax, sizeof kQueuedMax);
    }
    return socket;
  }

 private:
  void* handle_;  // ends with its process
};

void send_bytes(void* socket, std::string_view bytes, int flags) {
  expect(zmq_send(socket, bytes.data(), bytes.size(), flags) >= 0, "sending");
}

class Part {
 public:
  Part() { zmq_msg_init(&message_); }
  ~Part() { zmq_msg_close(&message_); }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  void receive(void* socket) { expect(zmq_msg_recv(&message_, socket, 0) >= 0, "receiving"); }
  void send(void* socket, int flags) {
    expect(zmq_msg_send(&message_, socket, flags) >= 0, "sending");
  }
  [[nodiscard]] bool more() const { return zmq_msg_more(&message_) != 0; }
  [[nodiscard]] std::string_view view() {
    return {static_cast<const char*>(zmq_msg_data(&message_)), zmq_msg_size(&message_)};
  }

 private:
  zmq_msg_t message_;
};

std::string bound_endpoint(void* socket) {
  expect(zmq_bind(socket, "tcp://127.0.0.1:*") == 0, "binding");
  char text[256];
  std::size_t size = sizeof text;
  zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, text, &size);
  return text;
}

/// Header and frame of one message from one end to the other, as a session of ours would write
/// them when it has one envelope to send.
struct Letter {
  std::string header, frame;
};

Letter letter(const Identity& from, const Identity& to, EnvelopeKind kind, std::size_t bytes) {
  const auto pid = [](const Identity& who, std::uint64_t serial) {
    return Pid{who.name, who.incarnation, Serial{serial}};
  };
  Envelope envelope{.kind = kind,
                    .id = {0x1122334455667788, 1000},
                    .conversation = {0x0102030405060708, 1},
                    .payload = Payload{std::string(bytes, 'x')}};
  const TimePoint now{1000s};
  if (kind == EnvelopeKind::kRequest) {
    envelope.wants_reply = true;
    envelope.deadline = now + 30s;
  } else {
    envelope.parent = envelope.id;
  }
  const SessionFrame frame{
      SessionNumber{1}, 100'000,
      40'000'000,       false,
      100'000,          {Signal{signal::Send{pid(from, 9), pid(to, 9), std::move(envelope)}}}};
  return {wire::encode(RouteTo{to.name, to.incarnation}), wire::encode(frame, now)};
}

void send(void* socket, const Letter& letter) {
  send_bytes(socket, letter.header, ZMQ_SNDMORE);
  send_bytes(socket, letter.frame, 0);
}

/// The length of the frame that came, behind its header.
std::size_t receive(void* socket) {
  Part header, frame;
  header.receive(socket);
  expect(header.more(), "a message has two parts");
  frame.receive(socket);
  return frame.view().size();
}

template <class Frame>
Frame answer(void* socket) {
  for (;;) {
    Part part;
    part.receive(socket);
    auto frame = wire::decode_control(part.view());
    if (!frame) give_up("the broker said what does not decode: " + frame.error().detail);
    if (auto* wanted = std::get_if<Frame>(&*frame)) return *std::move(wanted);
  }
}

/// The socket for data, connected as its middle wants it.
void* connect(Context& context, Middle middle, const std::string& endpoint, const Identity& self) {
  void* data = context.open(ZMQ_DEALER);
  if (middle == Middle::kForwarder) {
    expect(zmq_connect(data, endpoint.c_str()) == 0, "connecting");
    if (self.name == server().name) {
      send_bytes(data, kServerGreeting, 0);
      Part answer;
      answer.receive(data);
    }
    return data;
  }
  void* control = context.open(ZMQ_DEALER);
  expect(zmq_connect(control, endpoint.c_str()) == 0, "connecting");
  control::Join join{self.name, self.incarnation, true, {}, {}};
  send_bytes(control, wire::encode(ControlFrame{std::move(join)}), 0);
  const auto welcome = answer<control::Welcome>(control);
  expect(zmq_connect(data, endpoint.c_str()) == 0, "connecting");
  send_bytes(data, wire::encode(ControlFrame{control::Attach{welcome.token}}), 0);
  (void)answer<control::Attached>(data);
  // It beats no more: the broker was started with a bound far beyond what a run takes.
  return data;
}

}  // namespace

void run_forwarder(const ChildLine& line) {
  Context context;
  void* router = context.open(ZMQ_ROUTER);
  line.say(bound_endpoint(router));

  const auto header_from = [](const Identity& who) {
    return wire::encode(
        RouteFrom{who.name, who.incarnation, Epoch{0x9f0c000000000001}, MembershipVersion{2}});
  };
  const std::string from_client = header_from(client()), from_server = header_from(server());
  std::string client_id, server_id;
  for (;;) {
    Part id, first, frame;
    id.receive(router);
    first.receive(router);
    if (!first.more()) {
      server_id = id.view();
      id.send(router, ZMQ_SNDMORE);
      first.send(router, 0);
      continue;
    }
    frame.receive(router);
    const bool is_reply = id.view() == server_id;
    if (!is_reply) client_id = id.view();
    send_bytes(router, is_reply ? client_id : server_id, ZMQ_SNDMORE);
    send_bytes(router, is_reply ? from_server : from_client, ZMQ_SNDMORE);
    frame.send(router, 0);
  }
}

void run_bare_server(const ChildLine& line, Middle middle, const std::string& endpoint,
                     const Load& load) {
  Context context;
  void* socket = connect(context, middle, endpoint, server());
  line.say("ready");
  const Letter reply = letter(server(), client(), EnvelopeKind::kReply, load.payload_bytes);
  for (;;) {
    (void)receive(socket);
    send(socket, reply);
  }
}

void run_bare_client(const ChildLine& line, Middle middle, const std::string& endpoint,
                     const Load& load) {
  Context context;
  void* socket = connect(context, middle, endpoint, client());
  const Letter request = letter(client(), server(), EnvelopeKind::kRequest, load.payload_bytes);
  const std::size_t reply_bytes =
      letter(server(), client(), EnvelopeKind::kReply, load.payload_bytes).frame.size();

  std::deque<BenchClock::time_point> sent;
  Stopwatch watch{load};
  say_begin_after(line, load);
  for (std::size_t i = 0; i < load.in_flight; ++i) {
    sent.push_back(BenchClock::now());
    send(socket, request);
  }
  for (;;) {
    expect(receive(socket) == reply_bytes, "a reply has the length of ours");
    const auto now = BenchClock::now();
    if (!watch.replied(sent.front(), now)) break;
    sent.pop_front();
    sent.push_back(now);
    send(socket, request);
  }
  say_sample(line, watch.sample());
  ::pause();  // its threads are looked at
}

void say_begin_after(const ChildLine& line, const Load& load) {
  std::thread{[line, warm_up = load.warm_up] {
    std::this_thread::sleep_for(warm_up);
    line.say("begin");
  }}.detach();
}

void say_sample(const ChildLine& line, const Sample& sample) {
  char text[128];
  std::snprintf(text, sizeof text, "%.3f %.3f %.3f", sample.median_us, sample.p99_us, sample.rate);
  line.say(text);
}

Sample sample_in(const std::string& line) {
  Sample sample;
  if (std::sscanf(line.c_str(), "%lf %lf %lf", &sample.median_us, &sample.p99_us, &sample.rate) !=
      3) {
    give_up("no sample: " + line);
  }
  return sample;
}

}  // namespace liminal::bench
