// The container engine that the agent uses, and from which images are pushed.
import http from 'node:http';

const BASE = 'tests/busybox:1';

export class Engine {
  constructor(host) {
    this.socketPath = host.replace(/^unix:\/\//, '');
  }

  /** One request. Returns the body's text; throws where the status is an error. */
  call(method, path, { headers = {}, body } = {}) {
    const json = body !== undefined && { 'content-type': 'application/json' };
    return new Promise((done, fail) => {
      const request = http.request({ socketPath: this.socketPath, method, path, headers: { ...json, ...headers } }, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (part) => (text += part)).on('error', fail);
        answer.on('end', () => {
          if (answer.statusCode < 400) done(text);
          else fail(new Error(`the engine answers ${answer.statusCode} to ${method} ${path}: ${text.trim()}`));
        });
      });
      request.on('error', fail);
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  /** The containers of an app, by service: `{ id, state, image, env }`. */
  async services(appId) {
    const filters = encodeURIComponent(JSON.stringify({ label: [`io.balena.app-id=${appId}`] }));
    const services = {};
    for (const { Id: id } of JSON.parse(await this.call('GET', `/containers/json?all=true&filters=${filters}`))) {
      const seen = JSON.parse(await this.call('GET', `/containers/${id}/json`));
      const env = Object.fromEntries(seen.Config.Env.map((it) => [it.slice(0, it.indexOf('=')), it.slice(it.indexOf('=') + 1)]));
      const found = { id, state: seen.State.Status, image: seen.Config.Image, startedAt: seen.State.StartedAt, env };
      (services[seen.Config.Labels['io.balena.service-name']] ??= []).push(found);
    }
    return services;
  }

  /** The containers, if each of these services has exactly one, which runs. */
  async running(appId, names) {
    const services = await this.services(appId);
    const runs = names.every((it) => services[it]?.length === 1 && services[it][0].state === 'running');
    return runs && Object.keys(services).length === names.length && Object.fromEntries(names.map((it) => [it, services[it][0]]));
  }

  /** Runs a shell line in a container, and returns what it prints. */
  async run(id, line) {
    const command = { AttachStdout: true, AttachStderr: true, Tty: true, Cmd: ['sh', '-c', line] };
    const { Id } = JSON.parse(await this.call('POST', `/containers/${id}/exec`, { body: command }));
    return this.call('POST', `/exec/${Id}/start`, { body: { Detach: false, Tty: true } });
  }

  /** Makes an image of the small one that runs this command. Its labels make it differ from all others. */
  async make(name, command, labels) {
    const { Id } = JSON.parse(await this.call('POST', '/containers/create', { body: { Image: BASE, Cmd: command, Labels: labels } }));
    try {
      await this.call('POST', `/commit?${new URLSearchParams({ container: Id, repo: name, tag: 'latest' })}`, { body: {} });
    } finally {
      await this.call('DELETE', `/containers/${Id}`);
    }
  }

  /** Pushes an image with a registry's token. Returns its digest and size. */
  async push(name, token) {
    // The engine wants the padding, which base64url leaves out.
    const auth = Buffer.from(JSON.stringify({ registrytoken: token })).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
    const text = await this.call('POST', `/images/${name}/push?tag=latest`, { headers: { 'X-Registry-Auth': auth } });
    const lines = text.trim().split('\n').map((it) => JSON.parse(it));
    const failed = lines.find((it) => it.error);
    if (failed) throw new Error(`the push of ${name} failed: ${failed.error}`);
    const { Digest, Size } = lines.find((it) => it.aux).aux;
    return { digest: Digest, size: Size };
  }

  /** Takes an image away, so that the agent has to pull it. */
  remove(name) {
    return this.call('DELETE', `/images/${name}?force=true`);
  }
}
