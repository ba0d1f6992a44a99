//! The observer as its users meet it: as a process, over HTTP, by its files and by its messages.

mod cli;
mod kill;
mod messages;
mod readme;
mod runs;
mod slow_sinks;
mod support;
