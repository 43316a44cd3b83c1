//! See `harness::sysfs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::sysfs(data));
