//! Update locks: files in a directory each service shares with us.
