//! See `harness::target`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::target(data));
