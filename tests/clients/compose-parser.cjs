// Stands in for balena-compose-parser, the program with which balena-cli loads a compose file, where npm could not fetch it: it
// comes from GitHub. It is enough for the project of these tests, whose fields are in the long forms already.
const fs = require('node:fs');
const path = require('node:path');
const yaml = require('js-yaml');

const file = process.argv[process.argv.indexOf('-f') + 1];
const name = process.argv.at(-1);
const project = yaml.load(fs.readFileSync(file, 'utf8'));
for (const service of Object.values(project.services)) {
  Object.assign(service, { command: null, entrypoint: null, networks: { default: null } });
  if (service.build) service.build.context = path.resolve(path.dirname(file), service.build.context);
}
for (const volume of Object.keys(project.volumes ?? {})) project.volumes[volume] = { name: `${name}_${volume}` };
delete project.version;
process.stdout.write(JSON.stringify({ name, ...project, networks: { default: { name: `${name}_default`, ipam: {} } } }));
