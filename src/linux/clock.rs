//! Wall time, and chance good enough for keys.
