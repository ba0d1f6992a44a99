use clap::CommandFactory;
use insta::assert_snapshot;

use super::args::Cli;

#[test]
fn command_line_definition_is_valid() {
    Cli::command().debug_assert();
}

/// Returns the help of a command on a terminal of 100 columns.
fn help(command: &str) -> String {
    let arguments =
        ["observer", command, "--help"].into_iter().filter(|argument| !argument.is_empty());
    Cli::command().term_width(100).try_get_matches_from(arguments).unwrap_err().to_string()
}

#[test]
fn help_has_examples_and_exit_codes() {
    assert_snapshot!(help(""), @"
    Accepts outcome events, makes them durable, and fans them out to sinks

    Usage: observer [OPTIONS] [COMMAND]

    Commands:
      serve         Accept events and deliver them to the sinks (the default command)
      check         Validate the configuration and check that each sink is reachable
      emit          Send events to an observer: one from flags, or NDJSON from files or standard input
      query         List events of the knowledge base, or show one
      tail          Print events as they are committed
      history       Show what happened before on one problem, and what to try next
      problems      List problems by state, the most costly first
      models        Show solved ratio, cost and time of each model, or compare two models
      usage         Show tokens, cost and time by model, source, day or label
      diff          Show what changed since a moment: what fails now, is fixed, dearer or slower
      hints         Show whether attempts with a hint solve more, and at what cost
      mcp           Answer an agent over standard input and output, by the Model Context Protocol
      status        Show whether a running observer accepts events, and the state of its sinks
      health        Check the health of the observer of this configuration, for containers
      sinks         List the sinks of a running observer, or forget a sink that was removed
      dead-letters  List, show, replay or purge the dead letters of a sink
      replay        Deliver events that are still in the journal to a sink again
      journal       Verify, repair or export the journal of a stopped observer
      kb            Write the knowledge base of a stopped observer anew
      token         Generate a token, and print the configuration that admits it
      completions   Print a completion script for a shell
      help          Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Global options:
          --config <PATH>        Configuration file; by default ./observer.toml if it exists, else
                                 built-in defaults [env: OBSERVER_CONFIG]
          --log-format <FORMAT>  Format of the log: `text` or `json` [env: OBSERVER_LOG_FORMAT]
                                 [default: text]
          --log <LEVEL>          Level of the log, or levels by target such as
                                 `info,observer_pipeline=debug` [env: OBSERVER_LOG] [default: info]

    Examples:
      observer                                  serve with ./observer.toml, or with the defaults
      observer --config /etc/observer.toml check
      observer emit --source bot --event-kind ok --ok --cycle-id c-17 --sig-hash 9f2c
      observer emit events.ndjson
      observer history 9f2c
      observer status

    Exit codes:
      0  success
      1  the command failed: a sink check, a rejected event, a corrupt journal, an error while serving;
         or a query matched nothing
      2  the command line or the configuration is invalid, or the observer is unreachable
    ");
    assert_snapshot!(help("serve"), @"
    Accept events and deliver them to the sinks (the default command)

    Usage: observer serve [OPTIONS]

    Options:
          --listen <ADDR>  Address to listen on instead of `server.listen`; repeatable
      -h, --help           Print help

    Global options:
          --config <PATH>        Configuration file; by default ./observer.toml if it exists, else
                                 built-in defaults [env: OBSERVER_CONFIG]
          --log-format <FORMAT>  Format of the log: `text` or `json` [env: OBSERVER_LOG_FORMAT]
                                 [default: text]
          --log <LEVEL>          Level of the log, or levels by target such as
                                 `info,observer_pipeline=debug` [env: OBSERVER_LOG] [default: info]

    Example:
      observer serve --listen 127.0.0.1:4800 --listen '[::1]:4800'
    ");
    assert_snapshot!(help("check"), @"
    Validate the configuration and check that each sink is reachable

    Usage: observer check [OPTIONS]

    Options:
          --redact <FILE>  Show only which secrets of a file of events would be redacted
      -h, --help           Print help

    Global options:
          --config <PATH>        Configuration file; by default ./observer.toml if it exists, else
                                 built-in defaults [env: OBSERVER_CONFIG]
          --log-format <FORMAT>  Format of the log: `text` or `json` [env: OBSERVER_LOG_FORMAT]
                                 [default: text]
          --log <LEVEL>          Level of the log, or levels by target such as
                                 `info,observer_pipeline=debug` [env: OBSERVER_LOG] [default: info]

    Examples:
      observer check
      observer --config new.toml check && systemctl restart observer
      observer check --redact events.ndjson

    The check of a sink ends after its `timeout`, or after 10 seconds if that key is absent. No event is
    sent.

    Exit codes:
      0  the configuration is valid, and every sink is reachable
      1  a sink or the telemetry endpoint is unreachable
      2  the configuration is invalid
    ");
    assert_snapshot!(help("emit"), @r#"
    Send events to an observer: one from flags, or NDJSON from files or standard input

    Usage: observer emit [OPTIONS] [FILE]...

    Arguments:
      [FILE]...  Files of events, one JSON object per line or one array; `-` for standard input

    Options:
          --url <URL>             URL of the observer [env: LH_OBSERVER_URL] [default:
                                  http://localhost:3800]
          --token <TOKEN>         Token to authenticate with; other users of the machine see it in the
                                  list of processes [env: OBSERVER_TOKEN]
          --token-file <FILE>     File with the token, in place of `--token` and `OBSERVER_TOKEN` [env:
                                  OBSERVER_TOKEN_FILE]
          --retry-for <DURATION>  Time for which a request is retried while the observer is unreachable
                                  or overloaded [default: 30s]
          --json                  Print the summary as JSON
      -h, --help                  Print help

    TLS:
          --cacert <PATH>  PEM file of authorities to trust in addition to those of the system
          --cert <PATH>    PEM file of the client certificate to present
          --key <PATH>     PEM file of its private key, without a passphrase

    One event:
          --source <NAME>       Producer of the event, such as `bot`
          --event-kind <NAME>   Kind of the outcome, such as `ok` or `tests_failed`
          --ok                  The cycle succeeded
          --failed              The cycle failed
          --cycle-id <ID>       Id of the cycle
          --sig-hash <HASH>     Hash of the problem that the cycle worked on
          --staffer-id <MODEL>  Model used by the cycle
          --turns <COUNT>       Number of model calls of the cycle
          --duration-ms <MS>    Duration of the cycle, in milliseconds
          --extra <JSON>        Further data as a JSON object, stored byte for byte

    Global options:
          --config <PATH>        Configuration file; by default ./observer.toml if it exists, else
                                 built-in defaults [env: OBSERVER_CONFIG]
          --log-format <FORMAT>  Format of the log: `text` or `json` [env: OBSERVER_LOG_FORMAT]
                                 [default: text]
          --log <LEVEL>          Level of the log, or levels by target such as
                                 `info,observer_pipeline=debug` [env: OBSERVER_LOG] [default: info]

    Examples:
      observer emit --source bot --event-kind tests_failed --failed --cycle-id c-17 --sig-hash 9f2c \
          --staffer-id gpt-oss:120b --turns 7 --extra '{"branch":"fix-17"}'
      observer emit events.ndjson more.ndjson
      observer emit --json events.json
      observer emit --url https://observer.example.com:3843 --cacert ca.pem events.ndjson

    Events are sent in order. Those of files and standard input are sent in batches of up to 500 lines
    or 1 MiB; a smaller batch is sent as soon as no further input is available. While the observer is
    unreachable or overloaded (408, 425, 429, 502, 503, 504), a request is retried. A repetition is
    harmless, since the observer recognises an event by its identity. A rejected line is reported with
    its file and line number, and the other lines are stored; of a JSON array, each element counts as a
    line. An optional field that can't be read counts as absent; the first ten such warnings are
    reported in the same way.

    Lines of an archive keep their ids if the token has the scope `relay`, or the observer has no
    tokens. Otherwise each id counts as the `id` of an event of this token, with a warning.

    Exit codes:
      0  every event is stored
      1  some events were rejected
      2  invalid usage, an unreadable file, or an unreachable observer
    "#);
    assert_snapshot!(help("journal"), @"
    Verify, repair or export the journal of a stopped observer

    Usage: observer journal [OPTIONS] <COMMAND>

    Commands:
      verify  Read the whole journal, and list its segments, damage and the position of each sink
      repair  Repair the journal, and keep a copy of every byte that is cut or replaced
      export  Write the events as NDJSON with envelopes, the input format of `observer emit`
      help    Print this message or the help of the given subcommand(s)

    Options:
      -h, --help  Print help

    Global options:
          --config <PATH>        Configuration file; by default ./observer.toml if it exists, else
                                 built-in defaults [env: OBSERVER_CONFIG]
          --log-format <FORMAT>  Format of the log: `text` or `json` [env: OBSERVER_LOG_FORMAT]
                                 [default: text]
          --log <LEVEL>          Level of the log, or levels by target such as
                                 `info,observer_pipeline=debug` [env: OBSERVER_LOG] [default: info]
    ");
    assert_snapshot!(help("completions"), @"
    Print a completion script for a shell

    Usage: observer completions [OPTIONS] <SHELL>

    Arguments:
      <SHELL>  Name of the shell [possible values: bash, elvish, fish, powershell, zsh]

    Options:
      -h, --help  Print help

    Global options:
          --config <PATH>        Configuration file; by default ./observer.toml if it exists, else
                                 built-in defaults [env: OBSERVER_CONFIG]
          --log-format <FORMAT>  Format of the log: `text` or `json` [env: OBSERVER_LOG_FORMAT]
                                 [default: text]
          --log <LEVEL>          Level of the log, or levels by target such as
                                 `info,observer_pipeline=debug` [env: OBSERVER_LOG] [default: info]

    Example:
      observer completions bash > /etc/bash_completion.d/observer
    ");
}

#[test]
fn help_of_remote_commands_has_examples_and_exit_codes() {
    for command in [
        "query",
        "history",
        "problems",
        "models",
        "usage",
        "diff",
        "hints",
        "kb rebuild",
        "status",
        "sinks",
        "dead-letters",
        "dead-letters replay",
        "replay",
    ] {
        let arguments = ["observer"].into_iter().chain(command.split(' ')).chain(["--help"]);
        let help =
            Cli::command().term_width(100).try_get_matches_from(arguments).unwrap_err().to_string();
        for part in ["Examples:\n  observer ", "Exit codes:\n  0  "] {
            assert!(help.contains(part), "{command}: {help}");
        }
    }
}
