//! The OCI runtime: container init as a library, and its command line.
