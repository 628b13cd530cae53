//! sig-storage.
