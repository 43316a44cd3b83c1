//! See `harness::replies`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::replies(data));
