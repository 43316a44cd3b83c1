// The story of a developer with balena-cli, and a board in local mode. tests/lab/clients.sh starts it, and says what it needs.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import { Agent } from '../cloud/open-balena/agent.mjs';
import { Engine } from '../cloud/open-balena/engine.mjs';
import { Skip, Story, check, pause, until } from '../cloud/open-balena/story.mjs';
import { BOARD, Computer } from './computer.mjs';

const { AGENT: program, BOARDKEEPER_LAB: lab, DOCKER_HOST: dockerHost, BUS: bus, KEPT: modules, COMPUTER, REGISTRY: registry } = process.env;
const kept = path.resolve('target/clients');
const log = path.join(kept, 'agent.log');
fs.rmSync(log, { force: true });

const OWNER = 2167;
/** The number that the app 1 of the client has on the board. */
const PUSHED = 4_000_000_001;
/** What balena-cli 25 asks of a board, and of npm's registry for its own updates. A request that is not here wants a look. */
const KNOWN = [
  /^80 GET \/balena-cli\//,
  /^48484 GET \/(ping|v2\/version|v2\/local\/(device-info|target-state|logs)|v2\/state\/status|v2\/containerId)$/,
  /^48484 POST \/v2\/local\/target-state$/,
  /^2375 GET \/(_ping|info|version|images\/json|distribution\/.*\/json)$/,
  /^2375 POST \/(build|images\/create|images\/.*\/tag)$/,
  /^2375 DELETE \/images\/.*/,
  /^2375 GET \/(containers|exec)\/ID\/json$/,
  /^2375 POST \/(containers\/ID\/(exec|kill|start)|exec\/ID\/start)$/,
  /^2375 (PUT \/containers\/ID\/archive|DELETE \/containers\/ID)$/,
];

const target = path.join(lab, 'target.json');
const owner = {
  device: { name: 'board', config: {}, apps: { ['a'.repeat(32)]: { id: OWNER, name: 'owners', class: 'fleet', is_host: false, releases: {
    c1: { id: 7, networks: {}, volumes: { data: {} }, services: {
      main: { id: 1, image_id: 1, image: `${registry}/tests/owner:1`, environment: {}, labels: {}, composition: { volumes: ['data:/data'] } } } } } } } },
};
fs.writeFileSync(target, JSON.stringify(owner));

const source = path.join(lab, 'project');
const story = new Story();
const engine = new Engine(dockerHost);
const computer = new Computer({ process: COMPUTER, modules, home: path.join(lab, 'home'), project: source, record: path.join(kept, 'requests.txt') });
const more = ['--target', target, '--listen', '127.0.0.1:48484', '--listen', `${BOARD}:48484`, '--local-engine', '10.77.0.0/24'];
const agent = new Agent({ program, lab, log, dockerHost, bus, more });
const switchLocalMode = (...how) => execFileSync(program, ['local-mode', ...how, '--state-dir', agent.stateDir]).toString();

// A project of two services: one is built, one is an image.
const write = (name, text) => {
  fs.mkdirSync(path.dirname(path.join(source, name)), { recursive: true });
  fs.writeFileSync(path.join(source, name), text);
};
const dockerfile = (line) => `FROM ${registry}/tests/base:1\nWORKDIR /app\n${line}COPY . /app/\nCMD ["sh", "run.sh"]\n`;
write('docker-compose.yml', `version: '2.1'
volumes: {cache: {}}
services:
  built:
    build: {context: ./built, dockerfile: Dockerfile}
    volumes: [{type: volume, source: cache, target: /cache, volume: {}}]
  ready: {image: '${registry}/tests/ready:1'}
`);
write('built/Dockerfile', dockerfile(''));
write('built/run.sh', 'trap "exit 0" TERM\nwhile :; do echo "says $(cat /app/word.txt)"; sleep 1; done\n');
write('built/word.txt', 'first\n');

const word = async () => {
  const { built } = await engine.services(PUSHED);
  return (await engine.run(built[0].id, 'cat /app/word.txt')).trim();
};
const only = async (name) => {
  const services = await engine.services(PUSHED);
  check(services[name]?.length === 1 && services[name][0].state === 'running', JSON.stringify(services));
  return services[name][0];
};

/** The board refuses a push. The CLI would try again for a minute. */
const refused = async () => {
  const push = computer.follow('push', BOARD, '--source', source, '--nolive', '--detached');
  try {
    return await until('it is refused', 60, () => push.text().split('\n').find((it) => /Unauthorized/.test(it)));
  } finally {
    await push.stop();
  }
};

try {
  agent.start();
  await story.must("the owner's app runs", async () => {
    const { main } = await until('it runs', 60, () => engine.running(OWNER, ['main']));
    await engine.run(main.id, 'echo kept > /data/file');
    return { main };
  });
  const { main: before } = await engine.running(OWNER, ['main']);

  await story.step('without local mode nothing is pushed', async () => {
    return refused();
  });

  await story.must('boardkeeper local-mode on', async () => {
    const said = switchLocalMode('on');
    const open = await until('the engine is forwarded', 30, async () => {
      const { local_engine: it } = await agent.state();
      return it.open && it;
    });
    return `${said} ${JSON.stringify(open)}`;
  });

  await story.step('balena device detect', async () => {
    const found = await until('the board is found', 60, async () => {
      const said = await computer.balena('device', 'detect', '--json').catch((error) => error.message);
      return said.includes(BOARD) && said;
    });
    return found;
  });

  await story.must('balena push, of a project with two services', async () => {
    const said = await computer.balena('push', BOARD, '--source', source, '--nolive', '--detached');
    const services = await until('both run', 60, () => engine.running(PUSHED, ['built', 'ready']));
    check((await word()) === 'first', await word());
    check(!(await engine.services(OWNER)).main.some((it) => it.state === 'running'), "the owner's app still runs");
    return { built: services.built.image, ready: services.ready.image, said: said.split('\n').length };
  });

  await story.step('a second push after a change replaces that container only', async () => {
    const old = { built: await only('built'), ready: await only('ready') };
    write('built/word.txt', 'second\n');
    await computer.balena('push', BOARD, '--source', source, '--nolive', '--detached');
    await until('the change is there', 60, async () => (await only('built')).id !== old.built.id && (await word()) === 'second');
    check((await only('ready')).id === old.ready.id, 'the other service was replaced too');
    return 'replaced';
  });

  await story.step('livepush: a changed file is there, in the same container', async () => {
    write('built/word.txt', 'at first\n');
    const live = computer.follow('push', BOARD, '--source', source);
    try {
      await until('the device has settled', 120, () => /Device state settled/.test(live.text()));
      const container = await only('built');
      check((await word()) === 'at first', 'the CLI edits an old container');
      for (const text of ['third', 'fourth']) {
        // The CLI does not say when it has begun to watch.
        await until(`the change to ${text}`, 60, async () => (write('built/word.txt', `${text}\n`), await pause(2), (await word()) === text));
        const seen = await until('it runs', 30, () => only('built'));
        check(seen.id === container.id, 'the container was replaced');
      }
      await agent.settled();
      const after = await until('it still runs', 30, () => only('built'));
      check(after.id === container.id, 'the agent replaced the container');
      write('built/Dockerfile', dockerfile('ENV CHANGED=yes\n'));
      await until('the changed Dockerfile', 120, async () => {
        const built = await only('built');
        return built.id !== container.id && built.env.CHANGED === 'yes';
      });
      return 'the same container, and a new one for a changed Dockerfile';
    } catch (error) {
      error.message += `; see ${path.join(kept, 'livepush.txt')}`;
      throw error;
    } finally {
      await live.stop();
      fs.writeFileSync(path.join(kept, 'livepush.txt'), live.text());
    }
  });

  await story.step('balena device logs', async () => {
    const follow = computer.follow('device', 'logs', BOARD, '--service', 'built');
    try {
      await until('a line', 30, () => /\[built\].*says fourth/.test(follow.text()));
      return follow.text().trim().split('\n').at(-1);
    } catch (error) {
      if (/does not have this endpoint/.test(follow.text())) throw new Skip('this release of the agent has no /v2/local/logs');
      error.message += `; the CLI says: ${follow.text().slice(-600)}`;
      throw error;
    } finally {
      await follow.stop();
    }
  });

  await story.step('leaving local mode', async () => {
    const built = (await only('built')).image;
    switchLocalMode('off');
    const { main } = await until("the owner's app runs", 60, () => engine.running(OWNER, ['main']));
    check(main.id === before.id, 'its container is another one');
    check((await engine.run(main.id, 'cat /data/file')).trim() === 'kept', 'its volume is another one');
    await until('nothing that was pushed is left', 60, async () => {
      const all = JSON.parse(await engine.call('GET', '/images/json?all=true')).flatMap((it) => it.RepoTags ?? []);
      const volumes = (JSON.parse(await engine.call('GET', '/volumes')).Volumes ?? []).map((it) => it.Name);
      check(!all.some((it) => it.startsWith('local_image')), all);
      check(volumes.length === 1, volumes);
      return !Object.keys(await engine.services(PUSHED)).length;
    });
    await until('the port is closed', 30, async () => !(await agent.state()).local_engine.open);
    await refused();
    return `${built} is gone`;
  });
  await story.step('the CLI asks for nothing that is not known', () => {
    const others = computer.requests().filter((it) => !KNOWN.some((known) => known.test(it)));
    check(!others.length, others);
    return computer.requests();
  });
} catch (error) {
  console.log(error.message);
  story.rows.push('FAILED');
} finally {
  if (agent.child) await agent.stop();
}
console.log(`the agent's log and all requests: ${kept}`);
process.exit(story.end());
