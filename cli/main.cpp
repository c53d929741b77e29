// liminal: the command.
#include <signal.h>

#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "common/base/standard_streams.hpp"
#include "node/node_log.hpp"

int main(int argc, char** argv) {
  liminal::open_standard_streams();
  liminal::cli::SignalWatch signals;
  ::signal(SIGPIPE, SIG_IGN);
  liminal::silence_node_log();
  return static_cast<int>(liminal::cli::run(signals, {argv + 1, argv + argc}));
}
