//! One method per endpoint of the Engine API, over a Unix socket or TCP.
