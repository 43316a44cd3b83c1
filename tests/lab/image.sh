#!/bin/sh
# A small image from nothing but the static busybox, for `docker load`, on stdout.   image.sh NAME:TAG [MEBIBYTES [ARCH]]
#
# The same name, size and busybox give the same image, bit for bit. It is built without an engine and without a registry.
# /version holds NAME:TAG. `stay` runs until it is told to stop, and then stops at once, which busybox's own sleep does not
# do as process 1. MEBIBYTES adds a file that does not compress, to make downloads long. With an ARCH that is not this
# machine's the image says so, and its programs are for no machine at all, unless BUSYBOX names one for it.
set -eu
here=$(dpkg --print-architecture 2> /dev/null || echo amd64)
name=$1 mebibytes=${2:-0} arch=${3:-$here}
# Engines have one name for both.
case $arch in armhf | armel) engine_arch=arm ;; *) engine_arch=$arch ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

root=$work/root
mkdir -p "$root/bin" "$root/tmp" "$root/etc" "$root/www"
cp "${BUSYBOX:-$(command -v busybox)}" "$root/bin/busybox"
# Bytes 18 and 19 name the machine. No emulator that this host may have knows number 0x1234.
[ "$arch" = "$here" ] || [ -n "${BUSYBOX:-}" ] || printf '\064\022' | dd of="$root/bin/busybox" bs=1 seek=18 conv=notrunc 2> /dev/null
for it in $(busybox --list); do [ -e "$root/bin/$it" ] || ln -s busybox "$root/bin/$it"; done
cat > "$root/bin/stay" <<'S'
#!/bin/sh
trap 'exit 0' TERM INT
while :; do sleep 3600 & wait $!; done
S
chmod 755 "$root/bin/busybox" "$root/bin/stay"
chmod 1777 "$root/tmp"
echo "$name" > "$root/version"
echo "root:x:0:0:root:/:/bin/sh" > "$root/etc/passwd"
if [ "$mebibytes" -gt 0 ]; then
  # A cipher's stream: incompressible, and the same every time.
  head -c "${mebibytes}M" /dev/zero | openssl enc -aes-128-ctr -nosalt -pass "pass:$name" -md sha256 2> /dev/null > "$root/ballast"
fi

pack() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=ustar "$@"; }
pack -C "$root" -cf "$work/layer.tar" .
layer=$(sha256sum < "$work/layer.tar" | cut -d' ' -f1)
printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z","config":{"Cmd":["stay"],"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"1970-01-01T00:00:00Z","created_by":"image.sh"}]}' \
  "$engine_arch" "$layer" > "$work/config"
config=$(sha256sum < "$work/config" | cut -d' ' -f1)
mv "$work/config" "$work/$config.json"
printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$config" "$name" > "$work/manifest.json"
pack -C "$work" -c "$config.json" layer.tar manifest.json
