// What ours is compared with: libzmq and nothing else, carrying the bytes that ours would.
#pragma once

#include <string>

#include "measurement.hpp"
#include "processes.hpp"

namespace liminal::bench {

/// What stands between the two ends.
enum class Middle { kForwarder, kBroker };

/// A ROUTER that hands each message of one of its two peers to the other one, behind a routing
/// header of ours. Says its endpoint; runs until it is killed.
void run_forwarder(const ChildLine& line);

/// A DEALER that answers each request with a reply as long as ours. Says "ready"; runs until it is
/// killed.
void run_bare_server(const ChildLine& line, Middle middle, const std::string& endpoint,
                     const Load& load);

/// A DEALER that sends requests. Says "begin" when it begins to count, then the sample; runs until
/// it is killed.
void run_bare_client(const ChildLine& line, Middle middle, const std::string& endpoint,
                     const Load& load);

/// Says "begin" at the end of the warm-up. Call before what measures is started.
void say_begin_after(const ChildLine& line, const Load& load);
void say_sample(const ChildLine& line, const Sample& sample);
[[nodiscard]] Sample sample_in(const std::string& line);

}  // namespace liminal::bench
