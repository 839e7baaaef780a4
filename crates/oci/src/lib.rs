//! The vocabulary of the OCI specifications: digests, references, manifests, image and runtime configuration.
