//! The GPIO chips that boards share.
