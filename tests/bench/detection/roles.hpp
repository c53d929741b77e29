// What this program is when it starts itself: a node that waits, a node that hangs, a busy loop.
#pragma once

#include <string>
#include <vector>

namespace liminal::bench {

/// A light node that holds conversations, told what to do by lines on stdin:
///   ask SERVICE   a conversation of its own, one request, and waits for what becomes of it
///   open SERVICE  a conversation to go on with, whose first request is answered
///   again         one more request in that one
/// A service is waited for until some node offers it. Each is answered by one line on stdout,
/// written at once by whoever waited:
///   NS ok | NS ERROR DETAIL      NS of CLOCK_MONOTONIC, which all processes and hosts here share
/// `ready` is the first line. Ends with stdin. Returns an exit status.
int run_receiver(const std::string& name, const std::string& broker);

/// A node whose one service, once asked, never gives any of its workers back, nor a spare: a
/// scheduler that hangs while the threads of its sockets live. Writes `NS` into the file `told`
/// when it begins to. Its first line is `ready`.
int run_hanging_node(const std::string& name, const std::string& broker, const std::string& service,
                     const std::string& told);

[[noreturn]] void run_busy_loop();

/// The role that the arguments name (`--as ROLE ...`), run to its end; -1 where they name none.
int run_role(const std::vector<std::string>& arguments);

}  // namespace liminal::bench
