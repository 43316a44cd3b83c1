// Logs: history, live, and over whatever interrupts them.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { applied, NAMES } from './arrive.mjs';
import { check, pause, Skip, until } from './story.mjs';

export async function keepLogs(it) {
  const { story, cloud, agent, engine, fleet, device: { uuid } } = it;
  const { logs } = cloud.sdk;
  const release = it.second ?? it.first;

  // Reported with what is sent anyway, so this comes late.
  await story.step('the report: metrics', () => until('memory, storage and CPU', 330, async () => {
    const metrics = await cloud.devices.getMetrics(uuid);
    const names = ['memory_usage', 'memory_total', 'storage_usage', 'storage_total', 'cpu_usage'];
    return names.every((key) => typeof metrics[key] === 'number') && metrics;
  }));

  await story.step('logs: history has both services, with their ids, and the system', async () => {
    const services = Object.fromEntries(await Promise.all(NAMES.map(async (name) => [name, await cloud.service(fleet, name)])));
    return until('lines of each', 60, async () => {
      const lines = await logs.history(uuid, { count: 'all' });
      const of = (name) => lines.filter((line) => line.serviceId === services[name]);
      const [main, side, system] = [of('main'), of('side'), lines.filter((line) => line.isSystem)];
      check(side.some((line) => line.isStdErr), 'no line of side is marked as stderr');
      return main.length && side.length && system.length &&
        { seen: `main ${main.length}, side ${side.length}, system ${system.length}, such as ${system.at(-1).message}` };
    });
  });
  await story.step('logs: live, with sdk logs.subscribe', async () => {
    const feed = await logs.subscribe(uuid, { count: 0 });
    const lines = [], errors = [];
    feed.on('line', (line) => lines.push({ ...line, after: Date.now() - line.timestamp }));
    feed.on('error', (error) => errors.push(error.message));
    await pause(15);
    feed.unsubscribe();
    const numbers = lines.flatMap((line) => number(line.message));
    check(numbers.length >= 8, `${numbers.length} lines in 15 s ${errors}`);
    check(inOrder(numbers), `out of order: ${numbers}`);
    const late = lines.map((line) => line.after).sort((a, b) => a - b);
    return `${numbers.length} lines in 15 s, ${late[late.length >> 1]} ms after they were written (median), ${late.at(-1)} at most`;
  });
  await story.step('logs: live, with balena device logs --tail', async () => {
    const tail = cloud.cliFollow('device', 'logs', uuid, '--tail');
    try {
      return await until('numbered lines go on', 60, () => {
        const numbers = tail.text().split('\n').flatMap(number);
        return numbers.length > 5 && `${numbers.length} lines`;
      });
    } finally {
      tail.stop();
    }
  });
  await story.step('logs: the agent is killed, and no line is lost', () => lossless(it, async () => {
    await agent.stop('SIGKILL');
    await pause(6);
    agent.start();
  }));
  await story.step('the cloud is away for 20 s, the agent recovers, and no line is lost', async () => {
    const { OUTAGE_DOWN: down, OUTAGE_UP: up } = process.env;
    if (!down || !up) throw new Skip('needs OUTAGE_DOWN and OUTAGE_UP');
    const shell = (line) => promisify(execFile)('sh', ['-c', line], { timeout: 120_000 });
    return lossless(it, async () => {
      await shell(down);
      await pause(20);
      const containers = await engine.running(fleet.id, NAMES);
      check(containers, 'a container stopped');
      await agent.state();
      await shell(up);
    });
  });
  await story.step('updates work after it', async () => {
    const begin = Date.now();
    await cloud.devices.envVar.set(uuid, 'AFTER', 'yes');
    await until('the containers have it', 90, async () => (await engine.running(fleet.id, NAMES))?.main?.env.AFTER === 'yes');
    const seconds = ((Date.now() - begin) / 1000).toFixed(1);
    await cloud.devices.envVar.remove(uuid, 'AFTER');
    await until('and lose it', 90, async () => (await engine.running(fleet.id, NAMES))?.main?.env.AFTER === undefined);
    await applied(it, release);
    return `a variable took ${seconds} s`;
  });
}

/** Every line that was written from before until after a trouble is there once, in order. */
async function lossless({ cloud, engine, fleet, device: { uuid } }, trouble) {
  const main = (await engine.running(fleet.id, NAMES)).main.id;
  const count = async () => Number((await engine.run(main, 'cat /data/n')).trim());
  const begin = Date.now();
  // A purge made the service count from the beginning, so older lines may have the same numbers.
  const history = async () => (await cloud.sdk.logs.history(uuid, { count: 'all' }))
    .filter((line) => line.timestamp > begin - 3000).flatMap((line) => number(line.message));
  const from = await count();
  await trouble();
  const ended = await count();
  const recovered = await until(`line ${ended} is in the cloud`, 120, async () => (await history()).includes(ended) && Date.now() - begin);
  await pause(3);
  const seen = (await history()).filter((n) => n >= from && n <= ended);
  const missing = [];
  for (let n = from; n <= ended; n++) if (!seen.includes(n)) missing.push(n);
  check(!missing.length, `of ${from} to ${ended} these are missing: ${missing}`);
  check(new Set(seen).size === seen.length, `twice: ${seen.filter((n, at) => seen.indexOf(n) !== at)}`);
  check(inOrder(seen), `out of order: ${seen}`);
  return `lines ${from} to ${ended}, each once; all there after ${(recovered / 1000).toFixed(1)} s`;
}

const number = (text) => {
  const found = /\bline (\d+)/.exec(text);
  return found ? [Number(found[1])] : [];
};
const inOrder = (numbers) => numbers.every((n, at) => !at || n > numbers[at - 1]);
