//! The decision
//!  what policies say of a subject.:Pure; it reads nothing, waits for nothing and gets the clock as an argument.
