// A Node server on the first listener that --listen-fds passes. On TERM it stops accepting, answers on the connections it
// has, and exits. (Since Node 19 it closes idle connections at once; older versions may keep them for some seconds.)
//
//     start_server --port=8000 --listen-fds --ready=accepting -- node examples/hello_node.js

"use strict";
const http = require("node:http");

const body = `version ${process.env.VERSION ?? "unknown"}\n`;
const server = http.createServer((request, response) => {
    response.setHeader("Content-Length", Buffer.byteLength(body));
    response.end(body);
});
process.on("SIGTERM", () => server.close());
server.listen({ fd: 3 });
