// A developer's computer on the board's network, and balena-cli on it.
import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const BOARD = '10.77.0.1';

export class Computer {
  /** `process` is one in its network, `modules` the directory with `node_modules`, `home` one for what the CLI keeps. */
  constructor({ process: pid, modules, home, project, record }) {
    Object.assign(this, { pid, modules, home, project, record });
    for (const it of [home, project]) fs.mkdirSync(it, { recursive: true });
    fs.writeFileSync(record, '');
  }

  command(args) {
    const hook = fileURLToPath(new URL('record.cjs', import.meta.url));
    const cli = path.join(this.modules, 'node_modules/balena-cli/bin/run.js');
    const env = { ...process.env, HOME: this.home, BALENARC_DATA_DIRECTORY: this.home, BALENARC_NO_SENTRY: '1', BALENARC_NO_ANALYTICS: '1',
      DISABLE_UPDATE_NOTIFIER: '1', NODE_OPTIONS: `--require=${hook}`, RECORD: this.record };
    for (const name of ['DOCKER_HOST', 'BUS', 'REGISTRY']) delete env[name];
    return ['nsenter', [`--net=/proc/${this.pid}/ns/net`, process.execPath, cli, ...args], { env, cwd: this.project }];
  }

  /** `balena ARGUMENT…`. Returns what it prints. */
  balena(...args) {
    const [program, words, options] = this.command(args);
    return new Promise((done, fail) => {
      execFile(program, words, { ...options, timeout: 180_000 }, (error, out, err) => {
        if (error) fail(new Error(`balena ${args.join(' ')}: ${err.trim() || error.message}: ${out.slice(-600)}`));
        else done(out + err);
      });
    });
  }

  /** `balena ARGUMENT…` that runs until it is stopped: `{ text(), stop() }`. */
  follow(...args) {
    const [program, words, options] = this.command(args);
    const child = spawn(program, words, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (part) => (text += part));
    const ended = new Promise((done) => child.once('close', done));
    const stop = () => {
      child.kill('SIGINT');
      // Some commands go on for as long as the board sends.
      const kill = setTimeout(() => child.kill('SIGKILL'), 5000);
      return ended.then(() => clearTimeout(kill));
    };
    return { text: () => text, stop };
  }

  /** The requests since `from`, each once, with ids replaced: `port method path`. */
  requests(from = 0) {
    const lines = fs.readFileSync(this.record, 'utf8').split('\n').filter(Boolean).slice(from);
    const plain = (it) => it.replace(/\?.*/, '').replace(/[0-9a-f]{64}/g, 'ID').replace(/(sha256:)?[0-9a-f]{12}\b/g, 'ID');
    return [...new Set(lines.map(plain))];
  }

  get recorded() {
    return fs.readFileSync(this.record, 'utf8').split('\n').filter(Boolean).length;
  }
}
