#!/bin/bash
# Whole ARM boards, emulated: their images from Debian's packages, and QEMU that runs them.   board.sh VERB …
#
#   emulator             makes a directory with QEMU in it, once
#   root ARCH            makes the root of an architecture (arm64, armhf, armel), with Debian's kernel for it, once
#   make BOARD DEB DIR   a board that is switched off: DIR gets kernel, device tree, initial root and a disk with the package on it
#   run BOARD DIR        switches it on, until it powers off, reboots or is killed: serial line 0 is stdin and stdout, the emulator's
#                        own talk (QMP) is at DIR/qmp, and what it traces goes to DIR/trace
#   boards               prints which there are
#   arch BOARD           prints its architecture
#
# The emulator is Debian's too, of a release that knows the Raspberry Pi 4, unpacked in a root of its own and run from there: the
# machine stays as it is. Everything that takes long is kept in ${XDG_CACHE_HOME:-~/.cache}/boardkeeper/boards and may be removed at
# any time. MIRROR is where Debian comes from (its usual one). Needs root.
set -eu
cd "$(dirname "$0")/../.."
here=$PWD mirror=${MIRROR:-http://deb.debian.org/debian}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/boardkeeper/boards
lab=$here/tests/lab

say() { echo "board.sh: $*" >&2; }
fail() { say "$*"; exit 1; }
usage() { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# --- what there is ---

# Model and kernel are what each board is: its architecture, QEMU's machine, and how it comes by its device tree.
board() {
  engine=no
  case $1 in
  # QEMU's generic machine plays a board by its device tree: its LEDs are lines of a PL061, which tells of every change.
  raspberry-pi-4) arch=arm64 machine=virt cpu=cortex-a72 engine=yes ;;
  beaglebone-black) arch=armhf machine=virt cpu=cortex-a15 engine=yes ;;
  # QEMU's Raspberry Pis, with the kernel's own trees.
  raspberry-pi-2) arch=armhf machine=raspi2b tree=bcm2836-rpi-2-b ;;
  raspberry-pi-zero-2-w) arch=arm64 machine=raspi3b tree=bcm2837-rpi-zero-2-w ;;
  raspberry-pi-zero) arch=armel machine=raspi0 tree=bcm2835-rpi-zero ;;
  raspberry-pi-4-itself) arch=arm64 machine=raspi4b tree=bcm2711-rpi-4-b ;;
  *) fail "no board of ours: $1; there are: $every" ;;
  esac
}
every='raspberry-pi-4 beaglebone-black raspberry-pi-2 raspberry-pi-zero-2-w raspberry-pi-zero raspberry-pi-4-itself'

kernel_of() {
  case $1 in
  arm64) echo linux-image-arm64 ;;
  armhf) echo linux-image-armmp ;;
  armel) echo linux-image-rpi ;;
  *) fail "no kernel is known for $1" ;;
  esac
}

# Two releases of Debian are on boards: the 64-bit ones run Debian 13 here and the 32-bit ones Debian 12, each with its own kernel,
# systemd and engine. The emulator is of the newer one, which knows more machines.
suite_of() { case $1 in armhf | armel) echo bookworm ;; *) echo trixie ;; esac; }

# --- roots ---

# Debian's packages unpacked and not configured: configuring them would be most of the work, for a processor that is emulated.
unpack() { # ARCH DIRECTORY PACKAGE…
  local arch=$1 out=$2 include suite
  shift 2
  include=$(tr ' ' , <<< "$*")
  mkdir -p "$cache"
  rm -rf "$out.new"
  suite=$(suite_of "$arch")
  mmdebstrap --mode=root --quiet --skip=check/empty,check/qemu --architectures="$arch" --variant=extract --include="$include" \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" "$out.new" "deb $mirror $suite main" "deb $mirror $suite-updates main" > "$cache/$arch.log" 2>&1 || {
    tail -20 "$cache/$arch.log" >&2
    fail "no root of $arch could be made"
  }
  mv "$out.new" "$out"
}

make_emulator() {
  [ ! -d "$cache/emulator" ] || return 0
  say "unpacking QEMU of Debian to $cache/emulator, once"
  unpack "$(dpkg --print-architecture)" "$cache/emulator" qemu-system-arm qemu-utils device-tree-compiler kmod
}

# Enough for systemd, logind, polkit, a shell and an engine. What Debian's scripts would have done is done here.
make_root() {
  local arch=$1 root=$cache/$1 it
  [ ! -d "$root" ] || return 0
  say "unpacking Debian $(suite_of "$arch") for $arch to $root, once"
  local engine
  case $arch in
  arm64) engine='docker.io docker-cli iptables' ;;
  armhf) engine='docker.io iptables' ;;
  *) engine='' ;;
  esac
  # shellcheck disable=SC2086 # several words
  [ -d "$root.draft" ] || unpack "$arch" "$root.draft" base-files base-passwd bash coreutils dash debianutils diffutils dpkg findutils gawk grep gzip hostname \
    init-system-helpers libc-bin libnss-systemd mount ncurses-base passwd perl-base sed tar util-linux systemd systemd-sysv udev dbus \
    kmod iproute2 libpam-systemd libpam-modules libpam-runtime polkitd procps curl busybox-static openssl "$(kernel_of "$arch")" $engine
  root=$root.draft
  for it in passwd group; do cp "$root/usr/share/base-passwd/$it.master" "$root/etc/$it"; done
  cp "$root/usr/share/libc-bin/nsswitch.conf" "$root/etc/nsswitch.conf"
  mkdir -p "$root"/{mnt,media,opt,srv,usr/local/sbin}
  rm -rf "$root/var/run" "$root/var/lock"
  ln -s /run "$root/var/run"
  ln -s /run/lock "$root/var/lock"
  # The kernel brings its own, and not everybody may make them.
  rm -rf "$root/dev"/*
  ln -sf gawk "$root/usr/bin/awk"
  for it in account auth session password; do echo "$it required pam_permit.so" > "$root/etc/pam.d/common-$it"; done
  cp "$root/etc/pam.d/common-session" "$root/etc/pam.d/common-session-noninteractive"
  if [ -n "$engine" ]; then
    for it in iptables ip6tables; do ln -sf "$it-nft" "$root/usr/sbin/$it"; done
    echo 'g docker -' > "$root/usr/lib/sysusers.d/docker.conf"
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants" "$root/etc/systemd/system/sockets.target.wants"
    ln -sf /usr/lib/systemd/system/docker.service "$root/etc/systemd/system/multi-user.target.wants/docker.service"
    ln -sf /usr/lib/systemd/system/docker.socket "$root/etc/systemd/system/sockets.target.wants/docker.socket"
  fi
  mv "$root" "${root%.draft}"
}

# --- a board ---

# QEMU's own programs run by the loader of the root that they are in.
of_emulator() {
  local root=$cache/emulator program=$1 libraries
  shift
  libraries=$root/usr/lib/$(uname -m)-linux-gnu
  local file=$program
  case $program in depmod | modprobe) file=kmod ;; esac
  QEMU_MODULE_DIR=$libraries/qemu exec "$root"/usr/lib64/ld-linux-*.so.2 --argv0 "$program" --library-path "$libraries:$root/usr/lib" \
    "$root/usr/bin/$file" "$@"
}

# Modules of the kernel that its initial root needs to find the disk.
storage='virtio_mmio virtio_blk mmc_block bcm2835 bcm2835_mmc sdhci_iproc bcm2835_dma ext4'

# A unit that is of no use to a test and takes long on an emulated processor.
mask() { for it in "$@"; do ln -sf /dev/null "$root/etc/systemd/system/$it"; done; }

# Whoever is at the serial line has a shell: it is told a line, and answers with what that printed and how it ended.
furnish_shell() {
  cat > "$root/usr/local/sbin/serial-shell" << 'S'
#!/bin/bash
dmesg --console-off 2> /dev/null || true
stty raw -echo
printf '\n@@here\n'
while IFS= read -r line; do
  said=$(bash -c "$line" 2>&1 < /dev/null)
  code=$?
  printf '\n@@begin\n%s\n@@end %s\n' "$said" $code
done
S
  chmod 755 "$root/usr/local/sbin/serial-shell"
  cat > "$root/etc/systemd/system/serial-shell.service" << 'U'
[Unit]
Description=A shell for whoever is at the serial line
After=boardkeeper.service docker.service
[Service]
Type=idle
ExecStart=/usr/local/sbin/serial-shell
StandardInput=tty
StandardOutput=tty
TTYPath=/dev/console
Restart=always
U
  ln -sf ../serial-shell.service "$root/etc/systemd/system/multi-user.target.wants/serial-shell.service"
  mask serial-getty@.service getty@tty1.service console-getty.service
}

furnish() {
  echo board > "$root/etc/hostname"
  printf '127.0.0.1 localhost board\n' > "$root/etc/hosts"
  echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
  : > "$root/etc/fstab"
  mkdir -p "$root/var/log/journal" "$root/etc/systemd/system/multi-user.target.wants" "$root/etc/systemd/system.conf.d"
  ln -sf /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
  # An emulated processor takes its time.
  printf '[Manager]\nDefaultTimeoutStartSec=600\nDefaultTimeoutStopSec=60\nDefaultDeviceTimeoutSec=600\n' > "$root/etc/systemd/system.conf.d/slow.conf"
  mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    ldconfig.service systemd-firstboot.service systemd-hwdb-update.service systemd-pstore.service systemd-timesyncd.service
  if [ "$engine" = no ]; then
    mask docker.service docker.socket containerd.service
  else
    BUSYBOX=$root/usr/bin/busybox "$lab/image.sh" tests/busybox:1 0 "$arch" > "$root/opt/app.tar"
  fi
  furnish_shell
  cp "$deb" "$root/tmp/boardkeeper.deb"
  # What it depends on is here, but dpkg was not told.
  chroot "$root" env DEBIAN_FRONTEND=noninteractive dpkg --force-depends --install /tmp/boardkeeper.deb > "$work/dpkg.log" 2>&1 || {
    cat "$work/dpkg.log" >&2
    fail "the package cannot be installed"
  }
  rm "$root/tmp/boardkeeper.deb"
}

# A small initial root: the modules of the disk, and then the disk.
make_initial() {
  local init=$work/initial version it
  version=$(ls "$root/usr/lib/modules")
  mkdir -p "$init"/{bin,dev,proc,sys,modules,root}
  cp "$root/usr/bin/busybox" "$init/bin/busybox"
  : > "$init/order"
  for it in $(for it in $storage; do (of_emulator modprobe --dirname "$root" --set-version "$version" --show-depends "$it" 2> /dev/null) | sed -n 's/^insmod \([^ ]*\).*/\1/p'; done | awk '!seen[$0]++'); do
    case $it in *.xz) xz -dc "$it" ;; *) cat "$it" ;; esac > "$init/modules/$(basename "$it" .xz)"
    basename "$it" .xz >> "$init/order"
  done
  cat > "$init/init" << 'I'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
while read -r it; do insmod "/modules/$it" || echo "initial root: $it was not loaded"; done < /order
for it in $(cat /proc/cmdline); do case $it in root=*) disk=${it#root=} ;; esac; done
while [ ! -b "$disk" ]; do sleep 0.1; done
# Nobody is there whom a shell would help; and who waits is told at once.
mount -t ext4 "$disk" /root || { echo "initial root: $disk cannot be mounted"; poweroff -f; }
mount --move /dev /root/dev
mount --move /proc /root/proc
mount --move /sys /root/sys
exec switch_root /root /sbin/init
I
  chmod 755 "$init/init"
  (cd "$init" && find . | busybox cpio -o -H newc -R 0:0 2> /dev/null | gzip -1) > "$dir/initial"
}

# label NODE LABEL LINE TRIGGER
led() {
  local tree=$dir/tree
  (of_emulator fdtput -c "$tree" "/leds/$1")
  (of_emulator fdtput -t s "$tree" "/leds/$1" label "$2")
  (of_emulator fdtput -t x "$tree" "/leds/$1" gpios "$chip" "$3" 0)
  (of_emulator fdtput -t s "$tree" "/leds/$1" linux,default-trigger "$4")
}

# QEMU's tree of its generic machine, with the names and the LEDs of the board it plays. Line 3 is its power button's.
play_board() {
  local tree=$dir/tree
  # shellcheck disable=SC2046 # several words
  (of_emulator qemu-system-aarch64 $(machine_of) -machine "dumpdtb=$tree" -display none -nic none > /dev/null 2>&1)
  chip=$(of_emulator fdtget -t x "$tree" /pl061@9030000 phandle)
  (of_emulator fdtput -t s "$tree" /pl061@9030000 gpio-line-names LED0 LED1 LED2 BUTTON LED4 FREE5 FREE6 FREE7)
  (of_emulator fdtput -c "$tree" /leds)
  (of_emulator fdtput -t s "$tree" /leds compatible gpio-leds)
  case $1 in
  raspberry-pi-4)
    (of_emulator fdtput -t s "$tree" / model 'Raspberry Pi 4 Model B Rev 1.4')
    (of_emulator fdtput -t s "$tree" / compatible raspberrypi,4-model-b brcm,bcm2711 linux,dummy-virt)
    led led-act ACT 0 heartbeat
    led led-pwr PWR 1 default-on ;;
  beaglebone-black)
    (of_emulator fdtput -t s "$tree" / model 'TI AM335x BeagleBone Black')
    # Without ti,am33xx, by which the kernel would take the machine for the processor of that name.
    (of_emulator fdtput -t s "$tree" / compatible ti,am335x-bone-black ti,am335x-bone linux,dummy-virt)
    led led2 beaglebone:green:usr0 0 heartbeat
    led led3 beaglebone:green:usr1 1 mmc0
    led led4 beaglebone:green:usr2 2 cpu0
    led led5 beaglebone:green:usr3 4 mmc1 ;;
  esac
}

machine_of() {
  case $machine in
  virt) echo "-machine virt,highmem=off -cpu $cpu -smp 2 -m 512" ;;
  # This machine's timer misses a moment that is over before it is set, and the processor then sleeps for an hour. So its time passes
  # with its instructions, and does not while the emulator has to wait for its turn.
  raspi0) echo "-machine raspi0 -icount shift=4" ;;
  # Four processors that are emulated on two starve each other: who waits for a lock spins while its holder waits for a turn. So two of
  # them are never switched on; its kernel is told.
  raspi2b) echo "-machine raspi2b -global bcm2836.enabled-cpus=2" ;;
  raspi4b) echo "-machine raspi4b -global bcm2838.enabled-cpus=2" ;;
  *) echo "-machine $machine" ;;
  esac
}

make_board() {
  deb=$2 dir=$3
  [ -e "$deb" ] || fail "there is no package $deb: make release deb"
  board "$1"
  make_emulator
  make_root "$arch"
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  work=$(mktemp -d "$cache/make.XXXXXX") root=$work/root
  trap 'umount --lazy "$root/proc" "$root/dev" 2> /dev/null || true; rm -rf --one-file-system "$work"' EXIT
  mkdir "$root"
  cp -a "$cache/$arch/." "$root/"
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  furnish
  local version
  version=$(ls "$root/usr/lib/modules")
  cp "$root/boot/vmlinuz-$version" "$dir/kernel"
  # What a test without a screen, a camera and a sound card has no use for.
  rm -rf "$root/usr/lib/modules/$version/kernel/"{sound,drivers/{gpu,media,infiniband,iio,scsi,ata,net/wireless,net/ethernet}}
  (of_emulator depmod -b "$root" "$version")
  make_initial
  if [ "$machine" = virt ]; then
    play_board "$1"
  else
    cp "$(find "$root/usr/lib/linux-image-$version" -name "$tree.dtb" | head -1)" "$dir/tree"
    # The emulator has no power domains, and to look for them ends an ARMv6 kernel; the watchdog beside them is what reboots.
    (of_emulator fdtput -t x "$dir/tree" /soc/watchdog@7e100000 reg 7e100000 114)
    (of_emulator fdtput -t s "$dir/tree" /soc/watchdog@7e100000 reg-names pm)
    local pins it
    case $machine in
    raspi2b)
      # The card's own controller loses an interrupt now and then where the emulator is short of turns, and reads wrong from then on. The
      # other one, which the board has for it too, does not.
      pins=$(of_emulator fdtget -t x "$dir/tree" /soc/gpio@7e200000/emmc_gpio48 phandle)
      (of_emulator fdtput -t s "$dir/tree" /soc/mmc@7e202000 status disabled)
      (of_emulator fdtput -t s "$dir/tree" /soc/mmc@7e300000 status okay)
      (of_emulator fdtput -t s "$dir/tree" /soc/mmc@7e300000 pinctrl-names default)
      (of_emulator fdtput -t x "$dir/tree" /soc/mmc@7e300000 pinctrl-0 "$pins")
      (of_emulator fdtput -t x "$dir/tree" /soc/mmc@7e300000 bus-width 4) ;;
    raspi4b)
      # The emulator has nothing for a screen, has no lines of the firmware's, on which the other LED is, and has the card where the board
      # has its wireless network.
      pins=$(of_emulator fdtget -t x "$dir/tree" /soc/gpio@7e200000/emmc-gpio48 phandle)
      for it in interrupt-controller@7ef00100 clock@7ef00000 hdmi@7ef00700 hdmi@7ef05700 i2c@7ef04500 i2c@7ef09500; do
        (of_emulator fdtput -t s "$dir/tree" "/soc/$it" status disabled)
      done
      (of_emulator fdtput -r "$dir/tree" /leds/led-pwr)
      (of_emulator fdtput -t s "$dir/tree" /emmc2bus/mmc@7e340000 status disabled)
      (of_emulator fdtput -r "$dir/tree" /soc/mmc@7e300000/wifi@1)
      (of_emulator fdtput -d "$dir/tree" /soc/mmc@7e300000 mmc-pwrseq)
      (of_emulator fdtput -t x "$dir/tree" /soc/mmc@7e300000 pinctrl-0 "$pins") ;;
    esac
    # The serial line is a person's here, not a Bluetooth chip's.
    (of_emulator fdtput -r "$dir/tree" /soc/serial@7e201000/bluetooth 2> /dev/null) || true
  fi
  umount --lazy "$root/proc" "$root/dev"
  rm -rf "$root/boot" "$root/usr/lib/linux-image-$version" "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
  truncate -s 2G "$dir/disk.raw"
  mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 -d "$root" "$dir/disk.raw"
}

run_board() {
  local dir=$2 disk
  board "$1"
  [ -e "$dir/disk.raw" ] || fail "$dir is no board: board.sh make"
  case $machine in
  virt) disk="-drive if=none,id=disk,format=raw,file=$dir/disk.raw -device virtio-blk-device,drive=disk -netdev user,id=net -device virtio-net-device,netdev=net" append="root=/dev/vda" ;;
  *) disk="-drive if=sd,format=raw,file=$dir/disk.raw" append="root=/dev/mmcblk0 dwc_otg.lpm_enable=0" ;;
  esac
  case $machine in raspi2b | raspi4b) append="$append maxcpus=2" ;; esac
  # An engine of Debian 12 wants AppArmor's parser where the kernel has AppArmor, and it is not among what an engine depends on.
  append="$append apparmor=0"
  # Its clock is ours, and its pins are looked at by that clock: what else this machine does comes after it.
  renice -n -10 -p $$ > /dev/null 2>&1 || true
  # shellcheck disable=SC2046,SC2086 # several words
  of_emulator qemu-system-aarch64 -L "$cache/emulator/usr/share/qemu" $(machine_of) $disk -no-reboot -display none -monitor none \
    -kernel "$dir/kernel" -initrd "$dir/initial" -dtb "$dir/tree" \
    -append "$append rw console=ttyAMA0,115200 quiet loglevel=4 systemd.show_status=0 panic=-1 net.ifnames=0" \
    -serial stdio -qmp "unix:$dir/qmp,server=on,wait=off" -msg timestamp=on -trace pl061_set_output -D "$dir/trace"
}

case ${1:-} in
emulator) make_emulator ;;
root)
  [ $# = 2 ] || usage
  make_root "$2" ;;
make)
  [ $# = 4 ] || usage
  make_board "$2" "$3" "$4" ;;
run)
  [ $# = 3 ] || usage
  run_board "$2" "$3" ;;
boards) echo "$every" ;;
arch)
  [ $# = 2 ] || usage
  board "$2"
  echo "$arch" ;;
*) usage ;;
esac
