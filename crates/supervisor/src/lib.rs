//! The process beside each container: parent of its init, keeper of its streams, log and exit status.
