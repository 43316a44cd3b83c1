//! What board this is, and what the host says of itself.
