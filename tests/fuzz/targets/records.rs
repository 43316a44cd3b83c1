//! See `harness::records`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::records(data));
