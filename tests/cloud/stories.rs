//! What a real engine and a real registry do with the fake cloud.

mod registry;
