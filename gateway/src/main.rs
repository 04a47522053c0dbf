//! The program `sealgate`.

fn main() {}
