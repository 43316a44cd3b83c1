//! Target-state documents, and the file they come from.
