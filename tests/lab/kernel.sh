#!/bin/bash
# A small kernel with LEDs and GPIO lines for tests, run by qemu's own processor: it boots in seconds, on any machine.
#
#   kernel.sh test [FLAVOUR…]              builds what is not there yet, and runs tests/kernel on each of them, or on all
#   kernel.sh image FLAVOUR…               builds the kernels that are not there yet, and prints where they are, one a line
#   kernel.sh run FLAVOUR TEST AGENT ARG…  boots one and runs the program TEST with these arguments beside the program AGENT,
#                                          which is /bin/boardkeeper there; ends as TEST did
#
# The kernel is Debian's linux-source, made as small as it can be, with uleds (LEDs whose brightness a test reads back) and
# gpio-sim (lines whose level a test reads back). It is built once, in ~/.cache/boardkeeper; the first flavour takes ten
# minutes of processor, the other three together one. Flavours, by what they lack:
#
#   all       nothing: both ABIs of the GPIO character device, and every trigger
#   second    the first ABI, as Debian's newest kernels do
#   first     the second ABI, as kernels before 5.10 do; and the trigger `pattern`
#   sysfs     the character device's files, as kernels before 4.8 do (one with sysfs for lines cannot be built without the device
#             itself any more); and the triggers `timer` and `pattern`
#
# ONLY names some of the tests. SOURCE names another tree than the newest /usr/src/linux-source-*.tar.xz. Needs what
# `install.sh rust kernel busybox` installs.
set -eu
usage() { sed -n '2,22s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -ge 1 ] || usage
fail() { echo "kernel.sh: $*" >&2; exit 1; }

cache=${XDG_CACHE_HOME:-$HOME/.cache}/boardkeeper
source=${SOURCE:-$(find /usr/src -name 'linux-source-*.tar.xz' 2> /dev/null | sort -V | tail -1)}
[ -e "$source" ] || fail "there is no /usr/src/linux-source-*.tar.xz: run tests/lab/install.sh kernel"

common='64BIT SMP PRINTK TTY SERIAL_8250 SERIAL_8250_CONSOLE KERNEL_GZIP BLK_DEV_INITRD RD_GZIP BINFMT_ELF
  BINFMT_SCRIPT MULTIUSER PROC_FS PROC_SYSCTL SYSFS DEVTMPFS DEVTMPFS_MOUNT TMPFS CONFIGFS_FS DEBUG_FS FUTEX EPOLL EVENTFD SIGNALFD TIMERFD POSIX_TIMERS HIGH_RES_TIMERS
  NO_HZ_IDLE INOTIFY_USER FILE_LOCKING ADVISE_SYSCALLS MEMBARRIER SHMEM UNIX NET INET EXPERT ACPI GPIOLIB GPIO_SYSFS GPIO_SIM NEW_LEDS
  LEDS_CLASS LEDS_CLASS_MULTICOLOR LEDS_GPIO LEDS_USER LEDS_TRIGGERS LEDS_TRIGGER_ONESHOT LEDS_TRIGGER_HEARTBEAT
  LEDS_TRIGGER_TRANSIENT LEDS_TRIGGER_DEFAULT_ON'
optional='GPIO_CDEV GPIO_CDEV_V1 LEDS_TRIGGER_TIMER LEDS_TRIGGER_PATTERN'

# has FLAVOUR: which of the optional things it has.
has() {
  case $1 in
  all) echo "$optional" ;;
  second) echo 'GPIO_CDEV LEDS_TRIGGER_TIMER LEDS_TRIGGER_PATTERN' ;;
  first) echo 'GPIO_CDEV GPIO_CDEV_V1 LEDS_TRIGGER_TIMER' ;;
  sysfs) ;;
  *) fail "there is no flavour '$1': all, second, first, sysfs" ;;
  esac
}

# What it is built of is in its name, so that none is taken for one of another making.
image_of() {
  local made_of
  made_of=$( { has "$1"; sed -n '/^common=/,/^optional=/p; /^configure/,/^}/p; /^without_the_second/,/^}/p' "$0"; stat -c %s "$source"; } | sha256sum | cut -c1-12)
  echo "$cache/kernel-$(basename "$source" .tar.xz | sed 's/linux-source-//')-$1-$made_of"
}

configure() {
  local tree=$1 it
  make -s -C "$tree" tinyconfig > "$tree/said" 2>&1
  for it in $common $(has "$2"); do echo "CONFIG_$it=y"; done > "$tree/wanted"
  for it in $optional; do grep -qx "CONFIG_$it=y" "$tree/wanted" || echo "# CONFIG_$it is not set"; done >> "$tree/wanted"
  (cd "$tree" && KCONFIG_CONFIG=.config scripts/kconfig/merge_config.sh -m .config wanted > said 2>&1)
  make -s -C "$tree" olddefconfig > "$tree/said" 2>&1
  for it in $(has "$2"); do grep -qx "CONFIG_$it=y" "$tree/.config" || fail "this kernel has no CONFIG_$it"; done
}

# No kernel of today can be built without the second ABI: its questions are taken out of the list of those that are answered.
without_the_second() { sed -i '/case GPIO_V2_GET_LINE.*_IOCTL:/s/case \(GPIO_V2[A-Z0-9_]*\)/case 0xdead00 + _IOC_NR(\1)/' "$1"; }

build() {
  local tree=$1 flavour=$2 image=$3 chardev=$1/drivers/gpio/gpiolib-cdev.c
  echo "kernel.sh: building the kernel '$flavour'; this happens once" >&2
  cp -p "$chardev" "$tree/chardev"
  [ "$flavour" != first ] || without_the_second "$chardev"
  configure "$tree" "$flavour"
  make -s -C "$tree" -j "$(nproc)" bzImage > "$tree/said" 2>&1 || { tail -20 "$tree/said" >&2; fail "the kernel '$flavour' cannot be built"; }
  # As it was, with a new time, so that the next flavour compiles it anew.
  cat "$tree/chardev" > "$chardev"
  cp "$tree/arch/x86/boot/bzImage" "$image.draft"
  mv "$image.draft" "$image"
}

images() {
  local flavour image
  tree=''
  mkdir -p "$cache"
  exec 9> "$cache/kernel.lock"
  flock 9
  for flavour; do
    image=$(image_of "$flavour")
    if [ ! -e "$image" ]; then
      if [ -z "$tree" ]; then
        tree=$(mktemp -d "$cache/kernel-tree.XXXXXX")
        trap 'rm -rf "$tree"' EXIT
        # Nothing of these is read, and they are half of it all.
        tar -xf "$source" -C "$tree" --strip-components=1 --exclude='*/drivers/gpu/drm/amd/include' --exclude='*/Documentation/[a-jl-z]*'
      fi
      nice "$0" --build "$tree" "$flavour" "$image"
    fi
    echo "$image"
  done
  # Whoever runs one of them asks here, too.
  exec 9>&-
}

# Everything there is on that machine: a shell, the two programs, and what runs them.
root() {
  local dir=$1 flavour=$2 test=$3 agent=$4
  shift 4
  mkdir -p "$dir"/{bin,dev,proc,sys,config,tmp,run,etc,var/lib}
  cp "$(command -v busybox)" "$dir/bin/busybox"
  strip -o "$dir/bin/boardkeeper" "$agent"
  strip -o "$dir/bin/test-kernel" "$test"
  # The libraries that they ask for, where they look for them.
  ldd "$test" "$agent" 2> /dev/null | sed -n 's/^.*[[:space:]]\(\/[^ ]*\) (0x.*$/\1/p' | sort -u | while read -r it; do
    install -D "$it" "$dir$it"
  done
  echo "export FLAVOUR=$flavour; set -- $(printf '%q ' "$@")" > "$dir/etc/arguments"
  cat > "$dir/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys
. /etc/arguments
if [ "$FLAVOUR" = sysfs ]; then
  # The devices of now, and none of the chips that are plugged in later.
  mount -t tmpfs dev /dev; mdev -s
else
  mount -t devtmpfs dev /dev
fi
mount -t configfs config /config; mount -t debugfs debug /sys/kernel/debug
mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
ip link set lo up
echo 1 > /proc/sys/kernel/printk
test-kernel "$@" 2>&1
echo "kernel.sh: the test ended with $?"
reboot -f
INIT
  chmod +x "$dir/init"
  (cd "$dir" && find . | busybox cpio -o -H newc 2> /dev/null | gzip -1) > "$dir.cpio.gz"
}

run() {
  local flavour=$1 image code
  image=$(images "$flavour")
  shift
  dir=$(mktemp -d /tmp/boardkeeper-kernel.XXXXXX)
  trap 'rm -rf "$dir"' EXIT
  root "$dir/root" "$flavour" "$@"
  # Nothing but the serial line goes in or out. Each instruction takes 8 ns of the machine's own time, and none is spent idle.
  timeout "${TIMEOUT:-900}" qemu-system-x86_64 -accel tcg -cpu max -m 512 -icount shift=3,sleep=off -nographic -no-reboot \
    -nodefaults -serial stdio -monitor none -kernel "$image" -initrd "$dir/root.cpio.gz" -append 'console=ttyS0 panic=-1 quiet tsc=reliable clocksource=tsc random.trust_cpu=on' < /dev/null | sed -u 's/\r//g' | tee "$dir/said" || true
  code=$(sed -n 's/.*kernel.sh: the test ended with \([0-9]*\)$/\1/p' "$dir/said")
  [ -n "$code" ] || fail "the kernel '$flavour' came to no end"
  exit "$code"
}

# The test and the agent, well compiled, since the machine that runs them is emulated.
programs() {
  test=$(cargo test --locked --workspace --profile sim --test kernel --no-run 2>&1 | tee /dev/stderr | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
  agent=$(dirname "$test")/../boardkeeper
}

run_tests() {
  local flavour said failed='' test agent
  if [ "$(uname -m)" != x86_64 ]; then
    echo "kernel.sh: these kernels are for x86_64, and this is $(uname -m): the tests on them are left out" >&2
    return
  fi
  [ $# -gt 0 ] || set -- all second first sysfs
  images "$@" > /dev/null
  programs
  for flavour; do
    echo "kernel.sh: on the kernel '$flavour'" >&2
    # shellcheck disable=SC2086 # several words
    "$0" run "$flavour" "$test" "$agent" --ignored --nocapture --test-threads=1 ${ONLY:-} || failed="$failed $flavour"
  done
  [ -z "$failed" ] || fail "failed on the kernels$failed"
}

verb=$1
shift
case $verb in
test) run_tests "$@" ;;
image) images "$@" ;;
--build) build "$@" ;;
run)
  [ $# -ge 3 ] || usage
  run "$@" ;;
*) usage ;;
esac
