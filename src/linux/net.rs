//! Where the API listens.
