%% Stands in for epmd: nobody listens on a fixed port and nothing is left behind. Node two listens
%% on a port that the kernel picks and tells it; node one is told it as `oracle_peer`.
-module(oracle_ports).
-export([start_link/0, register_node/2, register_node/3, port_please/2, port_please/3,
         address_please/3, listen_port_please/2, names/1]).
-export([own_port/0, set_peer/1]).

start_link() -> ignore.

register_node(Name, Port) -> register_node(Name, Port, inet).
register_node(_Name, Port, _Family) ->
    persistent_term:put(oracle_port, Port),
    {ok, 4 + erlang:phash2(os:getpid(), 1 bsl 24)}.

port_please(Name, Host) -> port_please(Name, Host, infinity).
port_please(_Name, _Host, _Timeout) ->
    case application:get_env(kernel, oracle_peer) of
        {ok, Port} when is_integer(Port) -> {port, Port, 6};
        _ -> noport
    end.

address_please(_Name, _Host, _Family) -> {ok, {127, 0, 0, 1}}.
listen_port_please(_Name, _Host) -> {ok, 0}.
names(_Host) -> {error, address}.

own_port() -> persistent_term:get(oracle_port).
set_peer(Port) -> application:set_env(kernel, oracle_peer, Port).
