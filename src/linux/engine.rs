//! A container engine, over the Docker API.
