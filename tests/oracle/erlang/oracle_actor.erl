%% A process of a script: does what the conductor says, tells it what it sees.
-module(oracle_actor).
-export([init/2]).

-record(actor, {name, conductor,
                known = #{},      % name => pid
                made = #{},       % pid => name: the conductor may never hear of one that dies at once
                monitors = #{},   % label => reference
                labels = #{},     % reference => label
                asked = #{}}).    % request => name

init(Name, Conductor) ->
    oracle_agent ! {new, self(), Conductor},
    Conductor ! {i_am, Name, self()},
    loop(#actor{name = Name, conductor = Conductor}).

loop(A = #actor{conductor = Conductor}) ->
    receive
        {do, Known, Ops} ->
            Conductor ! {does, A#actor.name},
            loop(lists:foldl(fun do/2, A#actor{known = Known}, Ops));
        {mesh, Round, Pids} ->
            [Pid ! {token, Round, self()} || Pid <- Pids],
            loop(A);
        {token, Round, From} ->
            Conductor ! {ack, Round, From, self(), map_size(A#actor.asked)},
            loop(A);
        {message, From, Text} ->
            saw(A, From, {message, Text}),
            loop(A);
        {'EXIT', From, Reason} ->
            saw(A, From, {exit, Reason}),
            loop(A);
        {'DOWN', Ref, process, Pid, Reason} ->
            Label = maps:get(Ref, A#actor.labels),
            saw(A, Pid, {down, Label, Reason}),
            loop(A#actor{monitors = maps:remove(Label, A#actor.monitors)});
        {spawn_reply, Request, Outcome, What} ->
            {Name, Asked} = maps:take(Request, A#actor.asked),
            saw(A, {name, Name}, {spawn_reply, Outcome, What}),
            case Outcome of
                ok -> loop(made(Name, What, A#actor{asked = Asked}));
                error -> loop(A#actor{asked = Asked})
            end
    end.

saw(#actor{name = Name, conductor = Conductor, made = Made}, From, What) ->
    Conductor ! {saw, Name, maps:get(From, Made, From), What}.

%% What names nobody is left out.
do({Verb, Name}, A) when Verb =:= link; Verb =:= unlink; Verb =:= kill ->
    with(Name, A, fun(Pid) -> tie(Verb, Pid), A end);
do({send, Name, Text}, A) ->
    with(Name, A, fun(Pid) -> Pid ! {message, self(), Text}, A end);
do({signal, Name, Reason}, A) ->
    with(Name, A, fun(Pid) -> exit(Pid, marked(Pid, Reason)), A end);
do({monitor, Name, Label}, A) ->
    with(Name, A, fun(Pid) ->
        Ref = monitor(process, Pid),
        A#actor{monitors = (A#actor.monitors)#{Label => Ref},
                labels = (A#actor.labels)#{Ref => Label}}
    end);
do({demonitor, Label}, A = #actor{monitors = Monitors}) ->
    case Monitors of
        #{Label := Ref} -> demonitor(Ref, [flush]);
        _ -> ok
    end,
    A#actor{monitors = maps:remove(Label, Monitors)};
do({trap, On}, A) ->
    process_flag(trap_exit, On),
    A;
do({exit, Reason}, _) -> exit(Reason);
do({throw, Text}, _) -> erlang:error({error, Text});
do({spawn, Name}, A) ->
    made(Name, spawn(?MODULE, init, [Name, A#actor.conductor]), A);
do({spawn_link, Name}, A) ->
    made(Name, spawn_link(?MODULE, init, [Name, A#actor.conductor]), A);
do({ask, Name, Node}, A) ->
    asked(Name, spawn_request(Node, ?MODULE, init, [Name, A#actor.conductor], [link]), A);
do({ask_unknown, Name, Node}, A) ->
    %% refused by the node that is asked
    asked(Name, spawn_request(Node, ?MODULE, init, [Name, A#actor.conductor],
                              [link, {service, unknown}]), A);
do({abandon, Name}, A = #actor{asked = Asked}) ->
    case [Request || {Request, Of} <- maps:to_list(Asked), Of =:= Name] of
        [Request] ->
            case spawn_request_abandon(Request) of
                true -> ok;
                false -> take_back(Request)
            end,
            A#actor{asked = maps:remove(Request, Asked)};
        [] -> A
    end.

with(Name, A, Do) ->
    case A#actor.known of
        #{Name := Pid} -> Do(Pid);
        _ -> A
    end.

made(Name, Pid, A) ->
    A#actor{known = (A#actor.known)#{Name => Pid}, made = (A#actor.made)#{Pid => {name, Name}}}.
asked(Name, Request, A) -> A#actor{asked = (A#actor.asked)#{Request => Name}}.

tie(link, Pid) ->
    %% The manual allows link/1 to say with an error what else an exit signal would say.
    try link(Pid) catch error:noproc -> exit(noproc) end;
tie(unlink, Pid) -> unlink(Pid), flush_exits(Pid);
tie(kill, Pid) -> exit(Pid, kill).

%% The answer was there already: whoever it names ends as an abandoned one does.
take_back(Request) ->
    receive
        {spawn_reply, Request, ok, Pid} ->
            unlink(Pid),
            flush_exits(Pid),
            exit(Pid, shutdown);
        {spawn_reply, Request, error, _} -> ok
    after 0 -> ok
    end.

%% unlink/1 leaves an exit message that came before it; only those of links are taken.
flush_exits(Pid) ->
    Self = self(),
    receive
        {'EXIT', Pid, Reason} when not is_tuple(Reason); element(1, Reason) =/= signal;
                                   element(2, Reason) =/= Pid; element(3, Reason) =/= Self ->
            flush_exits(Pid)
    after 0 -> ok
    end.

%% Marks what exit/2 carries, so that flush_exits/1 can tell it from a link's; reasons with a
%% meaning of their own stay as they are.
marked(_Pid, Reason) when Reason =:= normal; Reason =:= kill -> Reason;
marked(Pid, Reason) -> {signal, self(), Pid, Reason}.
