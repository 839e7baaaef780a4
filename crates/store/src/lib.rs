//! Blobs, image names, layers and root filesystems.
