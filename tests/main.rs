//! The observer as its users meet it.
