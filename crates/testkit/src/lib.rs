//! Hermetic environments, tiny images, and the end-to-end suite.
