// Gives: Node's `https` for clients. What listens says that it cannot.
"use strict";
const client = require("internal/http_client");
const noServer = require("internal/no_server");

class Agent extends client.Agent {
  constructor(options) {
    super(options);
    this.protocol = "https:";
    this.defaultPort = 443;
    this.maxCachedSessions = this.options.maxCachedSessions ?? 100;
  }
}

class ClientRequest extends client.ClientRequest {
  constructor(input, options, callback) { super("https:", input, options, callback); }
}

let globalAgent = new Agent({ keepAlive: true, scheduling: "lifo", timeout: 5000 });

const request = (input, options, callback) => new ClientRequest(input, options, callback);

function get(input, options, callback) {
  const sent = request(input, options, callback);
  sent.end();
  return sent;
}

class Server {
  constructor() { throw noServer("https.Server"); }
}

module.exports = {
  Agent, Server,
  createServer() { throw noServer("https.createServer"); },
  get,
  get globalAgent() { return globalAgent; },
  set globalAgent(agent) { globalAgent = agent; },
  request,
};
