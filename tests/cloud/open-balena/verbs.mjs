// Every call of the SDK that goes through the VPN to the device's own API.
import fs from 'node:fs';

import { applied, NAMES, reportedServices, servicesOf } from './arrive.mjs';
import { check, pause, Skip, until, words } from './story.mjs';

export async function sendVerbs(it) {
  const { story, cloud, agent, vpn, engine, device: { uuid }, fleet } = it;
  const { devices, sdk } = cloud;
  const step = (name, deed) => story.step(name, async () => {
    vpn.need();
    return deed();
  });
  const replaced = (names, deed) => step(deed.named, async () => {
    const before = await engine.running(fleet.id, NAMES);
    await deed();
    return until(`new lives of ${names}`, 60, async () => {
      const now = await engine.running(fleet.id, NAMES);
      return now && names.every((name) => now[name].startedAt !== before[name].startedAt) && `${names.join(' and ')} started anew`;
    });
  });
  const named = (name, deed) => Object.defineProperty(deed, 'named', { value: name });

  await step('device.ping', () => devices.ping(uuid));
  await step('device.identify', () => blinks(agent, () => devices.identify(uuid)));
  await step('balena device identify', () => blinks(agent, () => cloud.cli('device', 'identify', uuid)));
  await step('device.getSupervisorState', () => devices.getSupervisorState(uuid));
  await step('device.update', () => devices.update(uuid));
  await step('device.update, force', () => devices.update(uuid, { force: true }));
  await replaced(NAMES, named('device.restartApplication', () => devices.restartApplication(uuid)));
  for (const call of ['restartService', 'stopService', 'startService']) {
    await step(`device.${call}`, () => service(it, call));
  }
  await step('balena device restart, one service', () => answered501(() => cloud.cli('device', 'restart', uuid, '--service', 'main')));
  await step('device.purge', () => purged(it, () => devices.purge(uuid)));
  await step('application.purge', () => purged(it, () => sdk.models.application.purge(fleet.id)));
  for (const [call, verb] of [['reboot', 'Reboot'], ['shutdown', 'PowerOff']]) {
    await step(`device.${call}`, () => accepted(it, verb, () => devices[call](uuid)));
    await step(`device.${call}, force`, () => accepted(it, verb, () => devices[call](uuid, { force: true })));
    await step(`application.${call}`, () => accepted(it, verb, () => sdk.models.application[call](fleet.id)));
  }
  await step('application.restart is not known to open-balena', () => fails(404, () => sdk.models.application.restart(fleet.id)));
  await step('host configuration is read', () => cloud.supervisor(uuid, 'GET', '/v1/device/host-config'));
  await step('host configuration is changed', async () => {
    await cloud.supervisor(uuid, 'PATCH', '/v1/device/host-config', { network: { hostname: 'kitchen' } });
    check(agent.config().hostname === 'kitchen', `config.json has ${agent.config().hostname}`);
    return 'config.json has the hostname';
  });
  await step('lock override: an update waits for the lock of a service, until it is overridden', () => locked(it));
  await step('all is well after it', async () => {
    await applied(it, it.first);
    return reportedServices(it, it.first);
  });
}

/** The LED blinks as long as it should, seen from outside, and by request of this purpose. */
async function blinks(agent, ask) {
  const led = agent.watchLed();
  const begin = Date.now();
  await ask();
  const answered = Date.now() - begin;
  const { owner } = await agent.call('GET', '/agent/v1/leds');
  check(owner === 'identify', `the LED is ${owner}'s`);
  await pause(17);
  const lit = (await led.stop()).split('\n').filter((line) => / ACT lit/.test(line)).length;
  check(lit >= 30, `it was lit ${lit} times`);
  return `answered in ${answered} ms, lit ${lit} times`;
}

async function service({ cloud, engine, fleet, device: { uuid } }, call) {
  const services = servicesOf(await cloud.devices.getWithServiceDetails(uuid));
  const before = await engine.running(fleet.id, NAMES);
  await answered501(() => cloud.devices[call](uuid, services.main[0].image_id));
  return until(`${call} took effect`, 60, async () => {
    const [main] = (await engine.services(fleet.id)).main ?? [];
    if (call === 'stopService') return main?.state !== 'running' && 'it is stopped';
    return main?.state === 'running' && (!before || main.startedAt !== before.main.startedAt) && 'it runs';
  });
}

/** An endpoint that is not in this release says so. */
async function answered501(ask) {
  try {
    return await ask();
  } catch (error) {
    if (error.statusCode === 501 || /501|does not have this endpoint/.test(words(error))) throw new Skip(words(error));
    throw error;
  }
}

/** The volume is empty afterwards: the service counts from the beginning. */
async function purged({ engine, fleet }, ask) {
  const before = await engine.running(fleet.id, NAMES);
  await engine.run(before.main.id, 'touch /data/mark');
  await ask();
  return until('the volume is empty, and both run', 60, async () => {
    const now = await engine.running(fleet.id, NAMES);
    if (!now) return undefined;
    const files = (await engine.run(now.main.id, 'ls /data')).trim();
    return !files.includes('mark') && `the volume has ${files}`;
  });
}

/** logind accepts it, announces it, and calls it off after four seconds. Meanwhile the cloud shows that the device stops. */
async function accepted({ agent, cloud, device: { uuid } }, verb, ask) {
  const logind = () => fs.readFileSync(process.env.LOGIND_LOG, 'utf8').split('\n').filter((line) => line === verb).length;
  const before = logind();
  const begin = Date.now();
  const answer = await ask().then(() => 'answered', (error) => `answered with ${words(error)}`);
  await until(`logind is asked for ${verb}`, 10, () => logind() > before);
  const seconds = ((Date.now() - begin) / 1000).toFixed(1);
  const stopping = await until('the cloud shows it', 4, async () => {
    const { status } = await cloud.devices.get(uuid, { $select: 'status' });
    return /Stopping|Shutting/.test(status) && status;
  }).catch(() => 'no status of it');
  await until('it is called off', 20, async () => (await agent.state()).shutdown.state !== 'under_way');
  await agent.settled();
  check(stopping !== 'no status of it', `${answer}; logind was asked after ${seconds} s; the cloud never showed that the device stops`);
  return `${answer}; logind was asked after ${seconds} s; the cloud shows ${stopping}`;
}

/** open-balena has no such route. */
export async function fails(status, ask) {
  try {
    await ask();
  } catch (error) {
    check(error.statusCode === status, `unexpected: ${error.statusCode} ${words(error)}`);
    return `${status}`;
  }
  throw new Error('it was accepted');
}

async function locked({ cloud, agent, engine, fleet, device: { uuid } }) {
  const before = await engine.running(fleet.id, NAMES);
  await engine.run(before.main.id, 'touch /tmp/balena/updates.lock');
  await cloud.devices.envVar.set(uuid, 'LOCKED', 'yes');
  await until('the state names the lock', 30, async () => (await agent.state()).locks.some((lock) => lock.held_by === 'service'));
  await pause(5);
  // Its successor may have been created by now.
  const runs = (await engine.services(fleet.id)).main.some((one) => one.id === before.main.id && one.state === 'running');
  check(runs, 'main was replaced although it holds a lock');
  const begin = Date.now();
  await cloud.devices.enableLockOverride(uuid);
  await until('main is replaced', 60, async () => (await engine.running(fleet.id, NAMES))?.main?.env.LOCKED === 'yes');
  const seconds = ((Date.now() - begin) / 1000).toFixed(1);
  await cloud.devices.disableLockOverride(uuid);
  await cloud.devices.envVar.remove(uuid, 'LOCKED');
  await until('the variable is gone', 60, async () => (await engine.running(fleet.id, NAMES))?.main?.env.LOCKED === undefined);
  return `held up for 5 s, then replaced ${seconds} s after the override`;
}
