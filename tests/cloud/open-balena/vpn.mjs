// How the cloud reaches the device: by its own VPN, or by a program that VPN_COMMAND names.
import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

import { Skip, until } from './story.mjs';

export class Vpn {
  isUp = false;

  constructor(agent) {
    this.agent = agent;
  }

  /** Connects the device. Throws `Skip` where no VPN can be reached. */
  async start(cloud, uuid) {
    const command = process.env.VPN_COMMAND;
    if (command) await promisify(execFile)('sh', ['-c', `${command} ${uuid} 127.0.0.1:48484`], { timeout: 30_000 });
    else await this.openvpn();
    const connected = async () => (await cloud.devices.get(uuid, { $select: 'is_connected_to_vpn' })).is_connected_to_vpn;
    await until('the cloud says that the device is on its VPN', command ? 10 : 30, connected).catch((error) => {
      throw command ? error : new Skip(`${error.message}; VPN_COMMAND may name a program that connects UUID to ADDRESS`);
    });
    this.isUp = true;
    return command ? 'by VPN_COMMAND' : 'by openvpn';
  }

  async openvpn() {
    const file = path.join(this.agent.stateDir, 'vpn/openvpn.conf');
    await until(`the agent wrote ${file}`, 20, () => fs.existsSync(file)).catch((error) => {
      throw new Skip(error.message);
    });
    this.child = spawn('openvpn', ['--config', file], { cwd: path.dirname(file), stdio: 'ignore' });
    this.child.on('error', () => {});
  }

  /** A step that needs the VPN begins with this. */
  need() {
    if (!this.isUp) throw new Skip('needs the VPN');
  }

  async stop() {
    this.child?.kill();
  }
}
