#!/bin/sh
# rustc, for a standard library on 32-bit ARM that knows the time after January 2038. cargo takes it as RUSTC_WRAPPER.
#
# The libc crate counts seconds in 32 bits there unless it is told that musl is newer than 1.2.3, and zig's is: the first look at
# the clock after 2038 would end the process. It is told here and not by RUST_LIBC_UNSTABLE_MUSL_V1_2_3, which would tell the libc
# of every other crate too: gpiocdev does not build with it, and no other crate asks libc for the time.
set -eu
rustc=$1
shift
case " $* " in
*' --crate-name libc '*'feature="rustc-dep-of-std"'*) exec "$rustc" "$@" --cfg musl_v1_2_3 --cfg musl32_time64 --cfg linux_time_bits64 ;;
*) exec "$rustc" "$@" ;;
esac
