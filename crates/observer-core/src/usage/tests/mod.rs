//! Tests of the reading of usage.

mod bounds;
mod properties;
mod rules;
mod runs;
mod shapes;
