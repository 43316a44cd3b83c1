// One line for each step: what was seen, and how long it took.

/** A step throws it where what it needs is not there. */
export class Skip extends Error {}

export const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

/** Looks again and again until `look` returns something, and returns that. Errors of `look` count as nothing seen. */
export async function until(what, seconds, look) {
  const end = Date.now() + 1000 * seconds;
  let last;
  for (;;) {
    try {
      const seen = await look();
      if (seen) return seen;
      last = undefined;
    } catch (error) {
      if (error instanceof Skip) throw error;
      last = words(error);
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s${last ? `; the last look: ${last}` : ''}`);
    await pause(0.25);
  }
}

/** Throws unless it holds. */
export function check(holds, otherwise) {
  if (!holds) throw new Error(typeof otherwise === 'string' ? otherwise : JSON.stringify(otherwise));
}

/** What an error says. The SDK shows an answer that is an object as `[object Object]`. */
export function words(error) {
  const { message, statusCode, body } = error;
  return /\[object/.test(message) ? `${statusCode}: ${typeof body === 'string' ? body : JSON.stringify(body)}` : message;
}

export class Story {
  rows = [];

  /** Takes a step. Returns what it saw, or `undefined` where it failed or was skipped. */
  async step(name, deed) {
    const begin = Date.now();
    let result = 'ok', seen;
    try {
      seen = await deed();
    } catch (error) {
      result = error instanceof Skip ? 'skipped' : 'FAILED';
      seen = words(error);
    }
    const seconds = ((Date.now() - begin) / 1000).toFixed(1);
    this.rows.push(result);
    console.log(`${result.padEnd(8)}${seconds.padStart(6)} s  ${name}: ${line(seen)}`);
    return result === 'ok' ? (seen ?? true) : undefined;
  }

  /** Takes a step without which no other makes sense. */
  async must(name, deed) {
    const seen = await this.step(name, deed);
    if (seen === undefined) throw new Error(`the story ends here: ${name}`);
    return seen;
  }

  /** Prints the counts. Returns the exit code. */
  end() {
    const count = (result) => this.rows.filter((it) => it === result).length;
    console.log(`${count('ok')} ok, ${count('FAILED')} failed, ${count('skipped')} skipped`);
    return count('FAILED') ? 1 : 0;
  }
}

function line(seen) {
  const text = typeof seen === 'string' ? seen : JSON.stringify(seen?.seen ?? seen ?? 'done');
  return text.replace(/\s+/g, ' ').slice(0, 400);
}
