//! See `harness::logs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::logs(data));
