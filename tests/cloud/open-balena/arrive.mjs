// The device comes: fleet, config.json, registration, first target, first reports, VPN.
import fs from 'node:fs';

import { check, until } from './story.mjs';

/** What the services run: a line each second, numbered over all lives of the container; and one that says little. */
export const SERVICES = {
  main: 'n=$(cat /data/n 2>/dev/null || echo 0); echo "main starts after $n"; trap "exit 0" TERM; ' +
    'while :; do n=$((n+1)); echo $n > /data/n; echo "line $n"; sleep 1 & wait $!; done',
  side: 'trap "exit 0" TERM; echo "side starts" >&2; while :; do sleep 3600 & wait $!; done',
};
// A terminal, which services have unless they say otherwise, has no stderr of its own.
export const MORE = { main: { volumes: ['data:/data'] }, side: { tty: false } };
export const NAMES = Object.keys(SERVICES);

export async function arrive(it) {
  const { story, cloud, engine, agent, vpn } = it;
  const name = `bk-${Date.now().toString(36)}`;
  it.fleet = await story.must('a fleet', () => cloud.fleet(name));
  const config = await story.must('its config.json', async () => {
    const config = await cloud.config(it.fleet, it.ca);
    check(config.apiKey, 'it has no provisioning key');
    fs.writeFileSync(agent.bootConfig, JSON.stringify(config), { mode: 0o600 });
    return { seen: Object.keys(config).join(' '), config };
  });
  it.first = await story.must('a release of two services', () => cloud.release(engine, it.fleet, SERVICES, MORE));
  it.device = await story.must('the agent starts, and the device is registered', () => registered(it));
  await story.step('config.json has the identity, and no provisioning key', () => {
    const now = agent.config();
    check(now.uuid === it.device.uuid && now.deviceApiKey && now.deviceId === it.device.id, `uuid ${now.uuid}, deviceId ${now.deviceId}`);
    check(!now.apiKey, 'the provisioning key is still there');
    const lost = Object.keys(config.config).filter((key) => key !== 'apiKey' && !(key in now));
    check(!lost.length, `lost: ${lost}`);
    return `deviceId ${now.deviceId}, registered_at ${now.registered_at}`;
  });
  await story.must('the target is applied', () => applied(it, it.first));
  await story.step('the report: the device', () => reportedDevice(it));
  await story.step('the report: services', () => reportedServices(it, it.first));
  await story.step('one device, although it was registered a while ago', async () => {
    const all = await cloud.devices.getAllByApplication(it.fleet.id, { $select: 'id' });
    check(all.length === 1, `${all.length} devices`);
    return 'one';
  });
  await story.step('the device is on the VPN', () => vpn.start(cloud, it.device.uuid));
}

async function registered({ cloud, agent, fleet }) {
  agent.start();
  return until('a device in the fleet', 60, async () => {
    if (agent.how !== undefined) throw new Error(`the agent ended: ${agent.how}`);
    const [device] = await cloud.devices.getAllByApplication(fleet.id, { $select: ['id', 'uuid', 'device_name'] });
    return device;
  });
}

/** Waits until each service of a release has one container, which runs and knows its fleet. */
export async function applied({ engine, fleet, cloud, vpn, agent }, release, names = NAMES) {
  if (!vpn.isUp && agent.keyText) await agent.call('POST', '/v1/update');
  const images = await imagesOf(cloud, release);
  const running = await until(`${names.join(' and ')} of ${release.commit.slice(0, 7)} run`, 90, async () => {
    const running = await engine.running(fleet.id, names);
    return running && Object.values(running).every((one) => images.some((place) => one.image.startsWith(place))) && running;
  });
  return Object.assign(running, { seen: names.map((name) => `${name} ${running[name].id.slice(0, 7)}`).join(', ') });
}

async function imagesOf(cloud, release) {
  const rows = await cloud.sdk.pine.get({ resource: 'image', options: { $select: 'is_stored_at__image_location',
    $filter: { release_image: { $any: { $alias: 'ri', $expr: { ri: { is_part_of__release: release.id } } } } } } });
  return rows.map((row) => row.is_stored_at__image_location);
}

async function reportedDevice({ cloud, device }) {
  const fields = ['status', 'os_version', 'os_variant', 'supervisor_version', 'ip_address', 'mac_address', 'api_port', 'api_secret',
    'is_online', 'overall_status', 'api_heartbeat_state'];
  const seen = await until('versions, addresses, port and secret; online; Idle', 60, async () => {
    const seen = await cloud.devices.get(device.uuid, { $select: fields });
    const has = ['os_version', 'supervisor_version', 'ip_address', 'mac_address', 'api_secret'].every((key) => seen[key]);
    return has && seen.api_port === 48484 && seen.status === 'Idle' && seen.api_heartbeat_state === 'online' && seen;
  });
  return { ...seen, api_secret: `${seen.api_secret.length} characters` };
}

/** The services of a device, of whichever app, as `getWithServiceDetails` lists them. */
export const servicesOf = (device) => Object.assign({}, ...Object.values(device.current_services_by_app));

export async function reportedServices({ cloud, device }, release) {
  return until(`both are Running with ${release.commit.slice(0, 7)}`, 60, async () => {
    const row = await cloud.devices.getWithServiceDetails(device.uuid, { $expand: { is_running__release: { $select: 'commit' } } });
    const services = servicesOf(row);
    const running = NAMES.every((name) => services[name]?.length === 1 && services[name][0].status === 'Running' &&
      services[name][0].commit === release.commit);
    if (!running) throw new Error(JSON.stringify(services));
    const commit = row.is_running__release[0]?.commit;
    check(commit === release.commit, `is_running__release is ${commit}`);
    return Object.assign(services, { seen: NAMES.map((name) => `${name} ${services[name][0].status}`).join(', ') });
  });
}
