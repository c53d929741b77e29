%% One for each node: starts actors, notes how they end, says how the node's actors are tied.
-module(oracle_node).
-export([start_two/0, start_agent/0]).

%% Node two: says where it listens, then lives as long as its standard input.
start_two() ->
    start_agent(),
    io:format("port ~b~n", [oracle_ports:own_port()]),
    spawn(fun() -> eof = io:get_line(""), halt(0, [{flush, false}]) end).

start_agent() ->
    register(oracle_agent, spawn(fun() -> agent(#{}) end)).

agent(Watched) ->
    receive
        {start, Name, Conductor} ->
            spawn(oracle_actor, init, [Name, Conductor]),
            agent(Watched);
        {new, Pid, Conductor} ->
            Ref = monitor(process, Pid),
            agent(Watched#{Ref => Conductor});
        {'DOWN', Ref, process, Pid, Reason} ->
            maps:get(Ref, Watched) ! {ended, Pid, Reason},
            agent(maps:remove(Ref, Watched));
        {snapshot, Conductor, Round} ->
            Conductor ! {snapshot, node(), Round, snapshot()},
            agent(Watched);
        {clear, Conductor} ->
            Refs = [begin exit(Pid, kill), monitor(process, Pid) end || Pid <- actors()],
            [receive {'DOWN', Ref, _, _, _} -> ok end || Ref <- Refs],
            case actors() of
                [] -> Conductor ! {cleared, node()};
                _ -> self() ! {clear, Conductor}
            end,
            agent(Watched)
    end.

actors() -> [Pid || Pid <- processes(), is_actor(Pid)].
is_actor(Pid) ->
    case process_info(Pid, initial_call) of
        {initial_call, {oracle_actor, init, 2}} -> true;
        _ -> false
    end.

%% The question is itself a signal: the answer comes after everything that reached the actor before.
snapshot() ->
    Agent = self(),
    lists:sort([{Pid, lists:sort(Links), lists:sort([M || {process, M} <- Monitors]),
                 lists:sort([B || B <- By, B =/= Agent]), Length}
                || Pid <- actors(),
                   [{links, Links}, {monitors, Monitors}, {monitored_by, By},
                    {message_queue_len, Length}]
                       <- [process_info(Pid, [links, monitors, monitored_by, message_queue_len])]]).
