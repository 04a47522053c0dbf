"""Real processes, real sockets: what the tests drive the binaries with. It knows nothing of the Rust code."""
