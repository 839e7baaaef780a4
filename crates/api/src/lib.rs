//! The Docker Engine API on the wire: types, framings, endpoints.
