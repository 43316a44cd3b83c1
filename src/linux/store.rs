//! What outlives a power cut: files, each replaced whole.
