// Local mode, another fleet, and the end.
import { applied, MORE, NAMES, SERVICES } from './arrive.mjs';
import { check, pause, until } from './story.mjs';
import { fails } from './verbs.mjs';

export async function leave(it) {
  const { story, cloud, engine, agent, device: { uuid } } = it;
  const { devices } = cloud;

  await story.step('deactivate is not known to open-balena', () => fails(500, () => devices.deactivate(uuid)));
  await story.step('startOsUpdate is not known to open-balena', () => fails(404, () => devices.startOsUpdate(uuid, '6.5.0')));
  await story.step('local mode, by the SDK', async () => {
    await devices.enableLocalMode(uuid);
    await until('the agent is in local mode', 60, async () => (await agent.state()).device.local_mode);
    await devices.disableLocalMode(uuid);
    await until('and leaves it', 60, async () => !(await agent.state()).device.local_mode);
    await applied(it, it.second ?? it.first);
    return 'on and off, the release runs again';
  });
  await story.step('local mode, by balena device local-mode', async () => {
    await cloud.cli('device', 'local-mode', uuid, '--enable');
    await until('the agent is in local mode', 60, async () => (await agent.state()).device.local_mode);
    await cloud.cli('device', 'local-mode', uuid, '--disable');
    await until('and leaves it', 60, async () => !(await agent.state()).device.local_mode);
    await applied(it, it.second ?? it.first);
    return 'on and off';
  });

  const other = await story.step('another fleet with a release', async () => {
    const fleet = await cloud.fleet(`${it.fleet.slug.split('/')[1]}-b`);
    return { fleet, release: await cloud.release(engine, fleet, SERVICES, MORE), seen: fleet.slug };
  });
  if (other) {
    await story.step('the device moves there', async () => {
      const begin = Date.now();
      await devices.move(uuid, other.fleet.slug);
      const { seen } = await applied({ ...it, fleet: other.fleet }, other.release);
      await until('nothing of the old fleet is left', 60, async () => !Object.keys(await engine.services(it.fleet.id)).length);
      it.fleet = other.fleet;
      it.second = other.release;
      return `${((Date.now() - begin) / 1000).toFixed(1)} s; ${seen}`;
    });
  }

  await story.step('the device is deleted: the agent says so, and its apps run on', async () => {
    const before = await engine.running(it.fleet.id, NAMES);
    const { at } = agent.logSince();
    await devices.remove(uuid);
    const words = await until('a line of the log', 120, () => /.*(deleted|no such device|does not know).*/.exec(agent.logSince(at).text)?.[0]);
    await pause(10);
    const after = await engine.running(it.fleet.id, NAMES);
    check(after && NAMES.every((name) => after[name].id === before[name].id), 'its containers are not as they were');
    check(!(await cloud.devices.getAllByApplication(it.fleet.id, { $select: 'id' })).length, 'it registered itself anew');
    return words.replace(/^\S+\s+/, '');
  });
}
