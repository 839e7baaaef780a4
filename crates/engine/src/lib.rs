//! Containers, execs, events, records and recovery.
