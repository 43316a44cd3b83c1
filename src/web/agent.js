// Requests to the agent, and its streams. The key is kept for this tab only: it goes with the tab.

const KEY = "boardkeeper-key";
const LONGEST_WAIT = 15000;
// The agent sends a comment each 15 s; a connection that is silent for longer is dead.
const SILENCE = 40000;

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (it) => sessionStorage.setItem(KEY, it),
  forget: () => sessionStorage.removeItem(KEY),
};

// An answer that is an error: its status, and what the agent says.
export class Refused extends Error {
  constructor(status, message) {
    super(message || `HTTP ${status}`);
    this.status = status;
  }
}

// How far the agent's clock is ahead of the browser's, in milliseconds.
export let ahead = 0;

// Sends a request, and resolves to the response if it is no error.
export async function ask(method, path, body, more = {}) {
  const headers = { ...more.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const text = body === undefined ? undefined : JSON.stringify(body);
  const response = await fetch(path, { method, headers, body: text, signal: more.signal, cache: "no-store" });
  const date = Date.parse(response.headers.get("Date"));
  if (date) ahead = date - Date.now();
  if (response.ok) return response;
  throw new Refused(response.status, reason(await response.text()));
}

function reason(text) {
  try {
    const answer = JSON.parse(text);
    return answer.message || answer.Error || text;
  } catch {
    return text;
  }
}

// The JSON that a path answers.
export const read = async (path) => (await ask("GET", path)).json();

// The JSON, or `null` if the agent has no such path, or not for this key.
export const readIfThere = (path) => read(path).catch((why) => {
  if (why.status === 404 || why.status === 401) return null;
  throw why;
});

// Calls `each` with every line of a stream. `alive` is called whenever anything arrives.
export async function readLines(response, each, alive = () => {}) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    alive();
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    lines.forEach((line) => each(line.replace(/\r$/, "")));
  }
}

// Follows the agent's events until its key is refused; connects again, later each time. `on`: `event(name, data)`,
// `closed`, and `refused` at the end.
export async function follow(on) {
  let lastId;
  for (let failures = 0; ; failures += 1) {
    const stop = new AbortController();
    let silence;
    const alive = () => {
      clearTimeout(silence);
      silence = setTimeout(() => stop.abort(), SILENCE);
    };
    alive();
    try {
      const headers = lastId === undefined ? {} : { "Last-Event-ID": lastId };
      const response = await ask("GET", "/agent/v1/events", undefined, { headers, signal: stop.signal });
      let event = {};
      await readLines(response, (line) => {
        const [, name, value] = line.match(/^(\w*): ?(.*)$/) || [];
        if (line !== "") {
          if (name) event[name] = event[name] === undefined ? value : `${event[name]}\n${value}`;
          return;
        }
        if (event.id !== undefined) lastId = event.id;
        if (event.data !== undefined) on.event(event.event, JSON.parse(event.data));
        event = {};
        failures = 0;
      }, alive);
    } catch (why) {
      if (why.status === 401 || why.status === 403) return on.refused(why);
    }
    clearTimeout(silence);
    on.closed();
    await pause(Math.min(500 * 2 ** failures, LONGEST_WAIT) * (0.75 + Math.random() / 2));
  }
}

// Waits; not longer than until the browser is online again, or the page is looked at again.
function pause(ms) {
  return new Promise((resolve) => {
    const seen = () => document.visibilityState === "visible" && done();
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      document.removeEventListener("visibilitychange", seen);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener("online", done);
    document.addEventListener("visibilitychange", seen);
  });
}
