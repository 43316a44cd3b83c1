// The story of one device in a running open-balena. tests/lab/open-balena.sh starts it, and says what it needs.
import fs from 'node:fs';
import path from 'node:path';

import { Agent } from './agent.mjs';
import { Cloud } from './cloud.mjs';
import { Engine } from './engine.mjs';
import { arrive } from './arrive.mjs';
import { keepLogs } from './logs.mjs';
import { leave } from './leave.mjs';
import { Story } from './story.mjs';
import { update } from './update.mjs';
import { sendVerbs } from './verbs.mjs';
import { Vpn } from './vpn.mjs';

const { API_URL: apiUrl, TOKEN: token, CA: ca, AGENT: program, BOARDKEEPER_LAB: lab, DOCKER_HOST: dockerHost, KEPT: kept, BUS: bus } = process.env;

const story = new Story();
const engine = new Engine(dockerHost);
const cloud = await Cloud.open({ apiUrl: apiUrl.replace(/\/$/, ''), token, modules: kept, home: path.join(lab, 'clients') });
const log = path.join(kept, 'agent.log');
fs.rmSync(log, { force: true });
const agent = new Agent({ program, lab, log, dockerHost, bus });
const vpn = new Vpn(agent);
const it = { story, engine, cloud, agent, vpn, ca };
const only = (process.env.ONLY ?? '').split(/[ ,]+/).filter(Boolean);
const part = async (name, tell) => {
  if (!only.length || only.includes(name)) await tell(it);
};

try {
  await arrive(it);
  await part('verbs', sendVerbs);
  await part('update', update);
  await part('logs', keepLogs);
  await part('leave', leave);
} catch (error) {
  console.log(error.message);
  story.rows.push('FAILED');
} finally {
  await vpn.stop();
  if (agent.child) await agent.stop();
  await cloud.clean();
}
console.log(`the agent's log: ${log}`);
process.exit(story.end());
