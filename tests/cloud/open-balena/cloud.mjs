// The cloud, as its user sees it: balena-sdk and balena-cli.
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const DEVICE_TYPE = 'raspberrypi3';
const now = () => new Date().toISOString();

export class Cloud {
  /** Logs in. `modules` is the directory with `node_modules`, `home` one for what SDK and CLI keep. */
  static async open({ apiUrl, token, modules, home }) {
    fs.mkdirSync(path.join(home, 'sdk'), { recursive: true });
    const { getSdk } = createRequire(path.join(modules, 'package.json'))('balena-sdk');
    const sdk = getSdk({ apiUrl, dataDirectory: path.join(home, 'sdk'), isBrowser: false });
    await sdk.auth.loginWithToken(token);
    const cloud = new Cloud();
    return Object.assign(cloud, { sdk, apiUrl, token, modules, home, user: await sdk.auth.getUserInfo(), fleets: [] });
  }

  get devices() {
    return this.sdk.models.device;
  }

  async fleet(name) {
    const [organization] = await this.sdk.models.organization.getAll({ $select: ['id', 'handle'] });
    const fleet = await this.sdk.models.application.create({ name, deviceType: DEVICE_TYPE, organization: organization.id });
    const { id, slug, uuid } = fleet;
    this.fleets.push(id);
    return { id, slug, uuid };
  }

  /** A fleet's config.json with a provisioning key of its own. The API's certificate is in it, also where the API leaves it out. */
  async config(fleet, ca) {
    const config = await this.sdk.models.os.getConfig(fleet.id, { version: '6.4.0', developmentMode: true, appUpdatePollInterval: 10 });
    if (ca) config.balenaRootCA ??= fs.readFileSync(ca).toString('base64');
    return config;
  }

  /**
   * Makes a release as a builder does: services, release, images, pushes, success.
   * `services`: by name, the shell line that the image runs. Returns when the cloud took the last step.
   */
  async release(engine, fleet, services, more = {}) {
    const commit = randomBytes(16).toString('hex');
    const composed = Object.keys(services).map((name) => [name, { image: name, restart: 'always', ...more[name] }]);
    const composition = { version: '2.1', volumes: { data: {} }, services: Object.fromEntries(composed) };
    const { pine } = this.sdk;
    const body = { belongs_to__application: fleet.id, is_created_by__user: this.user.id, commit, composition, status: 'running',
      source: 'local', is_final: false, start_timestamp: now() };
    const release = await pine.post({ resource: 'release', body });
    for (const [name, line] of Object.entries(services)) {
      const service = await this.service(fleet, name);
      const image = await pine.post({ resource: 'image',
        body: { is_a_build_of__service: service, status: 'running', start_timestamp: now() } });
      const link = { image: image.id, is_part_of__release: release.id };
      await pine.post({ resource: 'image__is_part_of__release', body: link });
      const place = image.is_stored_at__image_location;
      await engine.make(place, ['sh', '-c', line], { release: commit, service: name });
      const { digest, size } = await engine.push(place, await this.pushToken(place));
      await engine.remove(place);
      const done = { status: 'success', content_hash: digest, image_size: size, end_timestamp: now(), push_timestamp: now() };
      await pine.patch({ resource: 'image', id: image.id, body: done });
    }
    await pine.patch({ resource: 'release', id: release.id, body: { status: 'success', is_final: true, end_timestamp: now() } });
    return { id: release.id, commit };
  }

  async service(fleet, name) {
    const { pine } = this.sdk;
    const [known] = await pine.get({ resource: 'service',
      options: { $select: 'id', $filter: { application: fleet.id, service_name: name } } });
    const service = known ?? (await pine.post({ resource: 'service', body: { application: fleet.id, service_name: name } }));
    return service.id;
  }

  /** What the registry wants of a user who pushes to this place. */
  async pushToken(place) {
    const [host, ...repository] = place.split('/');
    const query = new URLSearchParams({ service: host, scope: `repository:${repository.join('/')}:pull,push` });
    return (await this.ask('GET', `/auth/v1/token?${query}`)).token;
  }

  /** One request with the user's token. Returns the body. */
  async ask(method, url, body) {
    return (await this.sdk.request.send({ method, url, baseUrl: this.apiUrl, ...(body && { body }) })).body;
  }

  /** A request that the API passes on to the device. */
  supervisor(uuid, method, url, data) {
    return this.ask('POST', `/supervisor${url}`, { uuid, method, ...(data && { data }) });
  }

  cliEnv() {
    const data = path.join(this.home, 'cli');
    fs.mkdirSync(data, { recursive: true });
    fs.writeFileSync(path.join(data, 'token'), this.token, { mode: 0o600 });
    return { ...process.env, BALENARC_API_URL: this.apiUrl, BALENARC_BALENA_URL: new URL(this.apiUrl).host, BALENARC_DATA_DIRECTORY: data,
      BALENARC_NO_SENTRY: '1', BALENARC_NO_ANALYTICS: '1', DISABLE_UPDATE_NOTIFIER: '1' };
  }

  get cliProgram() {
    return path.join(this.modules, 'node_modules/balena-cli/bin/run.js');
  }

  /** `balena ARGUMENT…`. Returns what it prints. */
  cli(...args) {
    return new Promise((done, fail) => {
      execFile(process.execPath, [this.cliProgram, ...args], { env: this.cliEnv(), timeout: 120_000 }, (error, out, err) => {
        if (error) fail(new Error(`balena ${args.join(' ')}: ${err.trim() || error.message}`));
        else done(out);
      });
    });
  }

  /** `balena ARGUMENT…` that runs until it is stopped: `{ text(), stop() }`. */
  cliFollow(...args) {
    const child = spawn(process.execPath, [this.cliProgram, ...args], { env: this.cliEnv(), stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (part) => (text += part));
    return { text: () => text, stop: () => child.kill() };
  }

  /** Takes away every fleet that was made, and the devices in them. */
  async clean() {
    for (const id of this.fleets) await this.sdk.models.application.remove(id).catch((error) => console.log(`fleet ${id}: ${error.message}`));
  }
}
