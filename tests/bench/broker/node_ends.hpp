// The two ends as users have them: whole nodes.
#pragma once

#include <optional>
#include <string>

#include "measurement.hpp"
#include "processes.hpp"

namespace liminal::bench {

/// Who asks: a conversation through its handle, as an application does; or a bare process that
/// holds the participant itself, which shows what the conversation adds.
enum class Asker { kConversation, kProcess };

/// A node that offers "echo". Says "ready"; runs until it is killed.
void run_node_server(const ChildLine& line, const std::string& endpoint, const Load& load);

/// A node that asks for it. Says "begin" when it begins to count, then the sample; runs until it is
/// killed. Without an endpoint it runs alone, and offers the service itself.
void run_node_client(const ChildLine& line, Asker asker, const std::optional<std::string>& endpoint,
                     const Load& load);

}  // namespace liminal::bench
