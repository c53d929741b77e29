%% Plays scripts that come as terms on standard input, writes what the actors saw to standard output.
-module(oracle_conductor).
-export([start/0]).

-record(play, {two,             % the name of node two; none: it was lost
               step = 0,
               pids = #{},      % name => pid, of all that ever were
               names = #{},     % pid => name
               alive = #{},     % pid => name
               born = [],       % names of this step
               did = #{},       % names that did something in this step
               log = []}).      % lines, newest first

-define(PATIENCE, 20000).  % ms, for what takes microseconds: beyond it something is stuck

start() ->
    oracle_node:start_agent(),
    serve(none).

serve(Two) ->
    case io:read("") of
        {ok, {peer, Node, Port}} ->
            oracle_ports:set_peer(Port),
            true = net_kernel:connect_node(Node),
            io:put_chars("ready\n"),
            serve(Node);
        {ok, {script, Steps}} ->
            {Player, Ref} = spawn_monitor(fun() -> play(Steps, Two) end),
            receive
                {'DOWN', Ref, process, Player, {played, Left}} -> serve(Left);
                {'DOWN', Ref, process, Player, Reason} ->
                    io:format("broken\t~0p~ndone~n", [Reason]),
                    halt(1)
            end;
        eof -> halt(0, [{flush, false}])
    end.

play(Steps, Two) ->
    monitor_node(Two, true),
    Played = lists:foldl(fun step/2, #play{two = Two}, Steps),
    Nodes = nodes_of(Played),
    [{oracle_agent, Node} ! {clear, self()} || Node <- Nodes],
    [receive {cleared, Node} -> ok after ?PATIENCE -> exit({not_cleared, Node}) end || Node <- Nodes],
    [io:put_chars(Line) || Line <- lists:reverse(Played#play.log)],
    io:put_chars("done\n"),
    exit({played, Played#play.two}).

nodes_of(#play{two = none}) -> [node()];
nodes_of(#play{two = Two}) -> [node(), Two].

step(Step, P0) ->
    P = P0#play{step = P0#play.step + 1, born = [], did = #{}},
    Settled = settle(0, none, act(Step, P)),
    %% Whether it was there for a moment chance decides: from now on its name is nobody's.
    Gone = [Name || Name <- Settled#play.born,
                    not is_map_key(maps:get(Name, Settled#play.pids), Settled#play.alive)],
    Settled#play{pids = maps:without(Gone, Settled#play.pids)}.

act({start, Name, Where}, P) ->
    case node_of(Where, P) of
        none -> P;
        Node ->
            {oracle_agent, Node} ! {start, Name, self()},
            receive {i_am, Name, Pid} -> born(Name, Pid, P)
            after ?PATIENCE -> exit({not_started, Name})
            end
    end;
act({together, Batches, Loses}, P) ->
    Known = P#play.pids,
    [Pid ! {do, Known, [placed(Op, P) || Op <- Ops]}
     || {Name, Ops} <- Batches, #{Name := Pid} <- [Known], is_map_key(Pid, P#play.alive)],
    case Loses of
        true -> lose(P);
        false -> P
    end.

%% A node that is lost still has a name that requests can be sent to.
placed({Ask, Name, Where}, P) when Ask =:= ask; Ask =:= ask_unknown ->
    {Ask, Name, case node_of(Where, P) of none -> 'lost@127.0.0.1'; Node -> Node end};
placed(Op, _) -> Op.

node_of(one, _) -> node();
node_of(two, #play{two = Two}) -> Two.

lose(P = #play{two = none}) -> P;
lose(P = #play{two = Two}) ->
    oracle_ports:set_peer(none),
    io:put_chars("lose\n"),
    {ok, lost} = io:read(""),
    receive {nodedown, Two} -> ok after ?PATIENCE -> exit({still_up, Two}) end,
    Gone = [{Pid, Name} || {Pid, Name} <- maps:to_list(P#play.alive), node(Pid) =:= Two],
    lists:foldl(fun({Pid, Name}, Q) -> ended(Pid, Name, "lost", Q) end, P#play{two = none}, Gone).

born(Name, Pid, P) ->
    Born = log(["born\t", text(P#play.step), $\t, text(Name), $\n],
               P#play{born = [Name | P#play.born],
                      pids = (P#play.pids)#{Name => Pid}, names = (P#play.names)#{Pid => Name},
                      alive = (P#play.alive)#{Pid => Name}}),
    case lists:member(node(Pid), nodes_of(P)) of
        true -> Born;
        false -> ended(Pid, Name, "lost", Born)  % its node was lost before this was read
    end.

ended(Pid, Name, How, P) ->
    log(["end\t", text(P#play.step), $\t, text(Name), $\t, How, $\n],
        P#play{alive = maps:remove(Pid, P#play.alive)}).

log(Line, P) -> P#play{log = [Line | P#play.log]}.

%% --- until nothing is under way ---

%% A round: each live actor sends each other one a token behind all that it sent before, and each
%% acknowledges; then the nodes say who lives and how they are tied. Nothing is under way when all
%% tokens came, both ends agree on each tie, nobody is tied to somebody gone, and so twice.
settle(Round, Before, P0) ->
    Round < 2000 orelse exit({never_settles, P0#play.step}),
    {Pending, P1} = mesh({P0#play.step, Round}, P0),
    {Snapshot, P} = snapshots({P0#play.step, Round}, P1),
    Calm = Pending =:= 0 andalso calm(Snapshot, P),
    case Calm of
        true when Snapshot =:= Before -> P;
        true -> settle(Round + 1, Snapshot, P);
        false -> settle(Round + 1, none, P)
    end.

mesh(Round, P) ->
    Pids = maps:keys(P#play.alive),
    [Pid ! {mesh, Round, Pids} || Pid <- Pids],
    acks(Round, [{From, To} || From <- Pids, To <- Pids], 0, P).

acks(_, [], Pending, P) -> {Pending, P};
acks(Round, Awaited, Pending, P) ->
    receive
        {ack, Round, From, To, Asked} ->
            acks(Round, lists:delete({From, To}, Awaited), Pending + Asked, P);
        {ack, _, _, _, _} -> acks(Round, Awaited, Pending, P);
        {ended, Pid, _} = Ended ->
            Left = [Pair || Pair = {From, To} <- Awaited, From =/= Pid, To =/= Pid],
            acks(Round, Left, Pending, note(Ended, P));
        Other when element(1, Other) =:= saw; element(1, Other) =:= i_am;
                   element(1, Other) =:= does ->
            acks(Round, Awaited, Pending, note(Other, P))
    after ?PATIENCE -> exit({no_answer, P#play.step, Awaited})
    end.

snapshots(Round, P) ->
    Nodes = nodes_of(P),
    [{oracle_agent, Node} ! {snapshot, self(), Round} || Node <- Nodes],
    lists:foldl(fun(Node, {All, Q0}) ->
        receive {snapshot, Node, Round, Some} -> {All ++ Some, drain(Q0)}
        after ?PATIENCE -> exit({no_snapshot, Node})
        end
    end, {[], P}, Nodes).

drain(P) ->
    receive
        Other when element(1, Other) =:= saw; element(1, Other) =:= i_am;
                   element(1, Other) =:= does; element(1, Other) =:= ended -> drain(note(Other, P))
    after 0 -> P
    end.

calm(Snapshot, P) ->
    Tied = maps:from_list([{Pid, {Links, Monitors, By}} || {Pid, Links, Monitors, By, _} <- Snapshot]),
    lists:sort(maps:keys(Tied)) =:= lists:sort(maps:keys(P#play.alive)) andalso
        lists:all(fun({Pid, Links, Monitors, By, Length}) ->
            Length =:= 0 andalso
                both_know(Pid, Links, 1, Tied) andalso
                both_know(Pid, Monitors, 3, Tied) andalso
                both_know(Pid, By, 2, Tied)
        end, Snapshot).

both_know(Pid, Others, Side, Tied) ->
    lists:all(fun(Other) ->
        case Tied of
            #{Other := Ties} -> lists:member(Pid, element(Side, Ties));
            _ -> false
        end
    end, Others).

note({i_am, Name, Pid}, P) -> born(Name, Pid, P);
note({ended, Pid, Reason}, P) ->
    case P#play.alive of
        #{Pid := Name} -> ended(Pid, Name, reason(Reason), P);
        _ -> P  % said to be lost before
    end;
note({does, Name}, P) -> P#play{did = (P#play.did)#{Name => true}};
note({saw, Name, From, What}, P) ->
    Saw = case P#play.did of #{Name := _} -> "then\t"; _ -> "saw\t" end,
    log([Saw, text(P#play.step), $\t, text(Name), $\t, name(From, P), $\t, what(What), $\n], P).

%% --- words ---

text(Word) when is_integer(Word) -> integer_to_list(Word);
text(Word) -> atom_to_list(Word).

name({name, Name}, _) -> text(Name);
name(Pid, P) ->
    case P#play.names of
        #{Pid := Name} -> text(Name);
        _ -> "nobody"
    end.

what({message, Text}) -> ["message ", text(Text)];
what({exit, Reason}) -> ["exit ", reason(Reason)];
what({down, Label, Reason}) -> ["down ", text(Label), $\s, reason(Reason)];
what({spawn_reply, ok, _}) -> "spawned";
what({spawn_reply, error, badopt}) -> "not-spawned no-service";
what({spawn_reply, error, Why}) -> ["not-spawned ", text(Why)].

reason({error, Text}) -> ["error(", text(Text), ")"];
reason({signal, _, _, Reason}) -> reason(Reason);
reason({{error, _} = Error, Stack}) when is_list(Stack) -> reason(Error);
reason(abandoned) -> "shutdown";
reason(Reason) when is_atom(Reason) -> atom_to_list(Reason);
reason(Reason) -> io_lib:format("~0p", [Reason]).
