//! Lives that have a name.
