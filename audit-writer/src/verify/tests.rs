//! Verification against stores that the tests build, honest and hostile.
