// Releases, pins and variables.
import { applied, MORE, NAMES, reportedServices, SERVICES } from './arrive.mjs';
import { check, pause, until } from './story.mjs';

export async function update(it) {
  const { story, cloud, engine, fleet, device: { uuid } } = it;
  const { devices, sdk } = cloud;
  const timed = async (deed) => {
    const begin = Date.now();
    const seen = await deed();
    return { ...seen, seen: `${((Date.now() - begin) / 1000).toFixed(1)} s; ${seen.seen}` };
  };

  it.second = await story.must('a second release', () => cloud.release(engine, fleet, SERVICES, MORE));
  await story.step('both containers are replaced', () => timed(() => applied(it, it.second)));
  await story.step('the report names it', () => reportedServices(it, it.second));
  await story.step('pinned to the first', async () => {
    await devices.pinToRelease(uuid, it.first.commit);
    return timed(() => applied(it, it.first));
  });
  await story.step('the report names it', () => reportedServices(it, it.first));
  await story.step('tracks the latest again', async () => {
    await devices.trackApplicationRelease(uuid);
    return timed(() => applied(it, it.second));
  });

  const variable = (name, set, expected, remove) => story.step(`${name}, set and removed`, async () => {
    const begin = Date.now();
    await set();
    if (!it.vpn.isUp) await it.agent.call('POST', '/v1/update');
    await until('the containers have it', 60, async () => holds(await engine.running(fleet.id, NAMES), expected));
    const seconds = ((Date.now() - begin) / 1000).toFixed(1);
    await remove();
    if (!it.vpn.isUp) await it.agent.call('POST', '/v1/update');
    await until('the containers no longer have it', 60, async () => holds(await engine.running(fleet.id, NAMES), {}));
    return `in ${Object.keys(expected).join(' and ')} ${seconds} s after it was set`;
  });
  await variable('a variable of the device', () => devices.envVar.set(uuid, 'STORY', 'device ä "q" $x'),
    { main: 'device ä "q" $x', side: 'device ä "q" $x' }, () => devices.envVar.remove(uuid, 'STORY'));
  await variable('a variable of the fleet', () => sdk.models.application.envVar.set(fleet.id, 'STORY', 'fleet'),
    { main: 'fleet', side: 'fleet' }, () => sdk.models.application.envVar.remove(fleet.id, 'STORY'));
  await variable('a variable of the device and a service', () => devices.serviceVar.set(uuid, 'side', 'STORY', 'service'),
    { side: 'service' }, () => devices.serviceVar.remove(uuid, 'side', 'STORY'));

  await story.step('a name given by the user stays', async () => {
    await devices.rename(uuid, 'kitchen-board');
    // As long as the agent could report another one.
    await pause(5);
    check((await devices.getName(uuid)) === 'kitchen-board', 'the device renamed itself');
    return 'kitchen-board';
  });
  await story.step('a configuration variable: the poll interval', async () => {
    const { at } = it.agent.logSince();
    await devices.configVar.set(uuid, 'RESIN_SUPERVISOR_POLL_INTERVAL', '20000');
    const target = await until('the target has it', 30, async () => {
      const target = await devices.getSupervisorTargetState(uuid);
      return JSON.stringify(target).includes('"RESIN_SUPERVISOR_POLL_INTERVAL":"20000"') && target;
    });
    check(target, 'no target');
    await it.agent.settled();
    check(!/ ERROR /.test(it.agent.logSince(at).text), 'the agent logged an error');
    return 'in the target, and no error';
  });
}

function holds(running, expected) {
  return running && NAMES.every((name) => running[name].env.STORY === expected[name]);
}
