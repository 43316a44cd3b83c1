// Loaded into a client: writes each request that it sends over HTTP to the file RECORD, a line each: port, method, path.
const fs = require('node:fs');
const http = require('node:http');

const write = (port, method, path) => fs.appendFileSync(process.env.RECORD, `${port} ${method} ${path}\n`);
const { onSocket } = http.ClientRequest.prototype;
http.ClientRequest.prototype.onSocket = function (...args) {
  write(Number(String(this.getHeader('host')).split(':')[1] ?? 80), this.method, this.path);
  return onSocket.apply(this, args);
};
require('node:diagnostics_channel').subscribe('undici:request:create', ({ request }) => {
  write(Number(new URL(request.origin).port || 80), request.method, request.path);
});
