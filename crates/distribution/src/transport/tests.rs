//! With a server in this process.
