//! See `harness::router`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::router(data));
