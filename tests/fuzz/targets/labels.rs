//! See `harness::labels`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::labels(data));
