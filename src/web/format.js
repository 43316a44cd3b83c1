// Numbers, times and patterns as people read them, and the merge of changes. Nothing here touches the document.

const UNITS = ["B", "kB", "MB", "GB", "TB"];

// `1500000` is `1.5 MB`.
export function bytes(count) {
  let unit = 0;
  while (count >= 999.5 && unit < UNITS.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit && count < 99.95 ? count.toFixed(1) : Math.round(count)} ${UNITS[unit]}`;
}

// `3725` is `1 h 2 min`: the two largest units that are not zero.
export function duration(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  let left = Math.max(0, Math.round(seconds));
  const said = parts.map(([size, unit]) => {
    const count = Math.floor(left / size);
    left %= size;
    return count && `${count} ${unit}`;
  });
  const first = said.findIndex((it) => it);
  return first < 0 ? "0 s" : said.slice(first, first + 2).filter((it) => it).join(" ");
}

const two = (number) => String(number).padStart(2, "0");

// The time of day on the clock of the browser; with the date, if it is another day.
export function clock(time, now = new Date()) {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return "";
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} `;
  const day = at.toDateString() === now.toDateString() ? "" : date;
  return `${day}${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

// Applies an RFC 7386 merge patch.
export function merged(target, patch) {
  if (patch === null || typeof patch !== "object" || Array.isArray(patch)) return patch;
  const isObject = target !== null && typeof target === "object" && !Array.isArray(target);
  const result = isObject ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = merged(result[name], value);
  }
  return result;
}

// The steps of a pattern as the agent writes it, `+200 -200 ms`.
export function steps(pattern) {
  const found = [...(pattern || "").matchAll(/([+-])(\d+)/g)];
  return found.map(([, sign, ms]) => ({ lit: sign === "+", ms: Number(ms) })).filter((it) => it.ms > 0);
}

// What a pattern shows at a time since its start, in milliseconds, and in how many it changes.
export function shownAt(all, ms) {
  const round = all.reduce((sum, it) => sum + it.ms, 0);
  let left = round ? ms % round : 0;
  for (const it of all) {
    if (left < it.ms) return { lit: it.lit, next: it.ms - left };
    left -= it.ms;
  }
  return { lit: false, next: Infinity };
}

// Bytes per second from samples `[time in ms, bytes]`, over the last ten seconds. `null`: not known yet.
export function rate(samples) {
  const [last] = samples.slice(-1);
  const first = samples.find(([at]) => last && last[0] - at <= 10000);
  const passed = last && first ? last[0] - first[0] : 0;
  return passed >= 1000 && last[1] > first[1] ? (last[1] - first[1]) * 1000 / passed : null;
}

// An image's name without its registry, and a digest in seven digits.
export function imageName(image) {
  const digest = image.match(/@sha256:([0-9a-f]{7})[0-9a-f]*$/);
  const name = image.replace(/@sha256:[0-9a-f]+$/, "").split("/").slice(-2).join("/");
  return digest ? `${name}@${digest[1]}` : name;
}
