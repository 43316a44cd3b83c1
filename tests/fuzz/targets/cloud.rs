//! See `harness::cloud`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::cloud(data));
