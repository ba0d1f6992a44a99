//! What should never be sent, sent all the same: each time the response says what was wrong, the next
//! good event is taken, memory stays within bounds, and in the end the archive has what was
//! accepted, once.

mod bodies;
mod connections;
mod labels;
mod monitored;
mod raw;
mod requests;
mod sizes;
