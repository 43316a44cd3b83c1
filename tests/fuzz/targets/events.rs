//! See `harness::events`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::events(data));
