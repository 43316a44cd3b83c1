// The agent under test, and its own API.
import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

import { until } from './story.mjs';

const PORT = 48484;

export class Agent {
  /** `lab` is a directory of its own, `log` a file, `more` further arguments. */
  constructor({ program, lab, log, dockerHost, bus, more = [] }) {
    Object.assign(this, { program, log, dockerHost, bus, more });
    this.stateDir = path.join(lab, 'state');
    this.runtimeDir = path.join(lab, 'runtime');
    this.bootConfig = path.join(lab, 'boot/config.json');
    fs.mkdirSync(path.dirname(this.bootConfig), { recursive: true });
  }

  /** The bus is not the machine's, which would be shut down by a verb that works. */
  start() {
    const env = { ...process.env, DOCKER_HOST: this.dockerHost, DBUS_SYSTEM_BUS_ADDRESS: this.bus };
    delete env.TOKEN;
    const bootConfig = fs.existsSync(this.bootConfig) ? ['--boot-config', this.bootConfig] : [];
    const args = ['run', '--state-dir', this.stateDir, '--runtime-dir', this.runtimeDir, ...bootConfig, '--board', 'simulated',
      '--log', 'debug', ...this.more];
    const out = fs.openSync(this.log, 'a');
    this.child = spawn(this.program, args, { env, stdio: ['ignore', out, out] });
    fs.closeSync(out);
    this.ended = new Promise((done) => this.child.once('exit', (code, signal) => done(signal ?? code)));
    this.ended.then((how) => (this.how = how));
    this.how = undefined;
  }

  async stop(signal = 'SIGTERM') {
    this.child.kill(signal);
    return this.ended;
  }

  /** The key of its API, once it has one. */
  async key() {
    this.keyText ??= (await promisify(execFile)(this.program, ['key', '--state-dir', this.stateDir])).stdout.trim();
    return this.keyText;
  }

  /** One request to its API. Returns status and body. */
  async call(method, url) {
    if (this.how !== undefined) throw new Error(`the agent ended: ${this.how}; see ${this.log}`);
    const headers = { Authorization: `Bearer ${await this.key()}` };
    const answer = await fetch(`http://127.0.0.1:${PORT}${url}`, { method, headers, signal: AbortSignal.timeout(10_000) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`the agent answers ${answer.status} to ${method} ${url}: ${text}`);
    return text && JSON.parse(text);
  }

  state() {
    return this.call('GET', '/agent/v1/state');
  }

  settled(seconds = 60) {
    return until('settled', seconds, async () => {
      const state = await this.state();
      return state.activity === 'settled' && !state.update.pending && state;
    });
  }

  config() {
    return JSON.parse(fs.readFileSync(this.bootConfig, 'utf8'));
  }

  /** What its log has gained since `from`, and how long it is now. */
  logSince(from = 0) {
    const text = fs.readFileSync(this.log, 'utf8');
    return { text: text.slice(from), at: text.length };
  }

  /** Watches the LEDs from outside, a line for each change, until `stop()`, which returns the lines. */
  watchLed() {
    const args = ['led', '--board', 'simulated', '--runtime-dir', this.runtimeDir, 'watch'];
    const child = spawn(this.program, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (part) => (text += part));
    const ended = new Promise((done) => child.once('close', () => done(text)));
    return { stop: () => (child.kill('SIGINT'), ended) };
  }
}
