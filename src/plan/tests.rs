//! Examples of plans, and what holds for all of them.
