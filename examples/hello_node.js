// A server on Node, which takes the first listener that --listen-fds passes. On TERM it accepts no more, answers on the
// connections it has, and leaves. (Since Node 19 it closes those that are idle; before, they may last for some seconds.)
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
