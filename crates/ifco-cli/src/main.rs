//! The ifco command.
fn main() {}
