use clap::CommandFactory;
use insta::assert_snapshot;

use super::args::Cli;

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

/// As on a terminal of 100 columns.
fn help(command: &str) -> String {
    let arguments =
        ["observer", command, "--help"].into_iter().filter(|argument| !argument.is_empty());
    Cli::command().term_width(100).try_get_matches_from(arguments).unwrap_err().to_string()
}

#[test]
fn help_has_examples_and_exit_codes() {
    assert_snapshot!(help(""), @"
    Takes in outcome events, makes them durable, and fans them out

    Usage: observer [OPTIONS] [COMMAND]

    Commands:
      serve         Take in events and deliver them to the sinks; what happens without a command
      check         Read the configuration, then ask each sink whether it can be reached
      emit          Send events to an observer: one from flags, or NDJSON from files or standard input
      status        Ask a running observer whether it takes events, and how its sinks are
      sinks         List the sinks of a running observer, or forget one that is gone
      dead-letters  List, show, send again or purge what a sink refused for good
      replay        Bring a sink the past that is still in the journal, also one that was added later
      journal       Look at, mend or export the journal of an observer that doesn't run
      token         Make a token, and print what to write into the configuration to let it in
      completions   Print a script that completes commands in a shell
      help          Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Global options:
          --config <PATH>        The configuration file; without one ./observer.toml if it is there,
                                 else the defaults [env: OBSERVER_CONFIG]
          --log-format <FORMAT>  How the log looks: `text` or `json` [env: OBSERVER_LOG_FORMAT]
                                 [default: text]
          --log <LEVEL>          How much is logged: a level, or levels by target such as
                                 `info,observer_pipeline=debug` [env: OBSERVER_LOG] [default: info]

    Examples:
      observer                                  serve with ./observer.toml, or with the defaults
      observer --config /etc/observer.toml check
      observer emit --source bot --event-kind ok --ok --cycle-id c-17 --sig-hash 9f2c
      observer emit events.ndjson
      observer status

    Exit codes:
      0  all went well
      1  it failed: a sink's check, an event that was refused, a corrupt journal, an error while serving
      2  the command line or the configuration is wrong, or there is no observer to send to
    ");
    assert_snapshot!(help("serve"), @r#"
    Take in events and deliver them to the sinks; what happens without a command

    Usage: observer serve [OPTIONS]

    Options:
          --listen <ADDR>  Where to listen, in place of the configuration's `server.listen`; can be
                           given several times
      -h, --help           Print help

    Global options:
          --config <PATH>        The configuration file; without one ./observer.toml if it is there,
                                 else the defaults [env: OBSERVER_CONFIG]
          --log-format <FORMAT>  How the log looks: `text` or `json` [env: OBSERVER_LOG_FORMAT]
                                 [default: text]
          --log <LEVEL>          How much is logged: a level, or levels by target such as
                                 `info,observer_pipeline=debug` [env: OBSERVER_LOG] [default: info]

    Example:
      observer serve --listen 127.0.0.1:4800 --listen '[::1]:4800'
    "#);
    assert_snapshot!(help("check"), @r#"
    Read the configuration, then ask each sink whether it can be reached

    Usage: observer check [OPTIONS]

    Options:
      -h, --help  Print help

    Global options:
          --config <PATH>        The configuration file; without one ./observer.toml if it is there,
                                 else the defaults [env: OBSERVER_CONFIG]
          --log-format <FORMAT>  How the log looks: `text` or `json` [env: OBSERVER_LOG_FORMAT]
                                 [default: text]
          --log <LEVEL>          How much is logged: a level, or levels by target such as
                                 `info,observer_pipeline=debug` [env: OBSERVER_LOG] [default: info]

    Examples:
      observer check
      observer --config new.toml check && systemctl restart observer

    Exit codes:
      0  the configuration is right and every sink can be reached
      1  a sink can't be reached, or whoever telemetry goes to
      2  the configuration is wrong
    "#);
    assert_snapshot!(help("emit"), @r#"
    Send events to an observer: one from flags, or NDJSON from files or standard input

    Usage: observer emit [OPTIONS] [FILE]...

    Arguments:
      [FILE]...  Files of events, one JSON object a line; `-` is standard input

    Options:
          --url <URL>             The observer [env: LH_OBSERVER_URL] [default: http://localhost:3800]
          --token <TOKEN>         The token, where the observer asks for one [env: OBSERVER_TOKEN]
          --retry-for <DURATION>  How long events are tried again while they can't be taken [default:
                                  30s]
          --json                  Print the summary as JSON
      -h, --help                  Print help

    For https:
          --cacert <PATH>  Authorities to trust in addition to the system's, in PEM
          --cert <PATH>    A certificate to show to the observer, in PEM
          --key <PATH>     Its private key, in PEM and without a passphrase

    One event:
          --source <NAME>       Who reports, such as `bot`
          --event-kind <NAME>   The outcome, such as `ok` or `tests_failed`
          --ok                  The cycle succeeded
          --failed              The cycle failed
          --cycle-id <ID>       Which cycle ended
          --sig-hash <HASH>     The hash of the problem that was worked on
          --staffer-id <MODEL>  The model that was used
          --turns <COUNT>       How many calls to a model the cycle made
          --duration-ms <MS>    How long the cycle took, in milliseconds
          --extra <JSON>        Anything else, as a JSON object; kept byte for byte

    Global options:
          --config <PATH>        The configuration file; without one ./observer.toml if it is there,
                                 else the defaults [env: OBSERVER_CONFIG]
          --log-format <FORMAT>  How the log looks: `text` or `json` [env: OBSERVER_LOG_FORMAT]
                                 [default: text]
          --log <LEVEL>          How much is logged: a level, or levels by target such as
                                 `info,observer_pipeline=debug` [env: OBSERVER_LOG] [default: info]

    Examples:
      observer emit --source bot --event-kind tests_failed --failed --cycle-id c-17 --sig-hash 9f2c \
          --staffer-id gpt-oss:120b --turns 7 --extra '{"branch":"fix-17"}'
      observer emit events.ndjson more.ndjson
      jq -c '.[]' events.json | observer emit --json
      observer emit --url https://observer.example.com:3843 --cacert ca.pem events.ndjson

    Events go in order, and those of files and standard input in batches: up to 500 lines or 1 MiB, or
    what is there when no more comes. While the observer can't be reached or has no room (429, 502,
    503, 504), the same events are tried again; a repeat is harmless, since an event is known by its
    identity. A line that is refused is told with its place, and the others are stored.

    Exit codes:
      0  every event is stored
      1  some were refused
      2  wrong usage, an unreadable file, or no observer to send to
    "#);
    assert_snapshot!(help("journal"), @"
    Look at, mend or export the journal of an observer that doesn't run

    Usage: observer journal [OPTIONS] <COMMAND>

    Commands:
      verify  Read all of it, and tell what is there, what can't be read, and where each sink stands
      repair  Mend what can be mended, and keep what is cut or replaced
      export  Write its events as NDJSON, each in its envelope, as `observer emit` takes them
      help    Print this message or the help of the given subcommand(s)

    Options:
      -h, --help  Print help

    Global options:
          --config <PATH>        The configuration file; without one ./observer.toml if it is there,
                                 else the defaults [env: OBSERVER_CONFIG]
          --log-format <FORMAT>  How the log looks: `text` or `json` [env: OBSERVER_LOG_FORMAT]
                                 [default: text]
          --log <LEVEL>          How much is logged: a level, or levels by target such as
                                 `info,observer_pipeline=debug` [env: OBSERVER_LOG] [default: info]
    ");
    assert_snapshot!(help("completions"), @r#"
    Print a script that completes commands in a shell

    Usage: observer completions [OPTIONS] <SHELL>

    Arguments:
      <SHELL>  The shell [possible values: bash, elvish, fish, powershell, zsh]

    Options:
      -h, --help  Print help

    Global options:
          --config <PATH>        The configuration file; without one ./observer.toml if it is there,
                                 else the defaults [env: OBSERVER_CONFIG]
          --log-format <FORMAT>  How the log looks: `text` or `json` [env: OBSERVER_LOG_FORMAT]
                                 [default: text]
          --log <LEVEL>          How much is logged: a level, or levels by target such as
                                 `info,observer_pipeline=debug` [env: OBSERVER_LOG] [default: info]

    Example:
      observer completions bash > /etc/bash_completion.d/observer
    "#);
}

#[test]
fn help_of_what_asks_a_running_observer_has_examples_and_exit_codes() {
    for command in ["status", "sinks", "dead-letters", "dead-letters replay", "replay"] {
        let arguments = ["observer"].into_iter().chain(command.split(' ')).chain(["--help"]);
        let help =
            Cli::command().term_width(100).try_get_matches_from(arguments).unwrap_err().to_string();
        for part in ["Examples:\n  observer ", "Exit codes:\n  0  "] {
            assert!(help.contains(part), "{command}: {help}");
        }
    }
}
