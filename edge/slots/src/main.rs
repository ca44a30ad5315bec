//! The boot loader's part, as a program.
fn main() {}
