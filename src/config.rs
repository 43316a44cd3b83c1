//! Flags, environment and the provisioning file become one checked configuration; every mistake is told at once.
