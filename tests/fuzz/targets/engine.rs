//! See `harness::engine`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::engine(data));
