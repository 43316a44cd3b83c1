//! The composition root: arguments, board, world, run, exit code.

fn main() {}
