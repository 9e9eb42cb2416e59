// A server outside that speaks HTTP/2 only: Node's own, so that both ends are not ours. Started with a file that holds a
// certificate and its key; prints the ports of its cleartext and its TLS listener, and ends with its standard input.
//
// `/echo` gives the request as JSON, `/unary` answers as gRPC does, with its status in the trailers, `/cookies` sets two,
// `/reset` gives the stream up, `/hang` never answers.
import http2 from "node:http2";
import { readFileSync } from "node:fs";

function serve(server) {
  server.on("stream", (stream, headers) => {
    const parts = [];
    stream.on("error", () => {});
    stream.on("data", (part) => parts.push(part));
    stream.on("end", () => {
      const body = Buffer.concat(parts);
      switch (headers[":path"].split("?")[0]) {
        case "/unary":
          stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
          stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0", "grpc-message": "fine", te: headers.te ?? "" }));
          stream.end(body);
          break;
        case "/cookies":
          stream.respond({ ":status": 404, "set-cookie": ["a=1", "b=2"], "x-many": ["1", "2"] });
          stream.end("none");
          break;
        case "/reset":
          stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
          break;
        case "/hang":
          break;
        default:
          stream.respond({ ":status": 200, "content-type": "application/json" });
          stream.end(JSON.stringify({ headers, body: body.toString(), session: stream.session.encrypted }));
      }
    });
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
}

const pem = readFileSync(process.argv[2]);
const plain = await serve(http2.createServer());
const secure = await serve(http2.createSecureServer({ cert: pem, key: pem }));
console.log(`${plain} ${secure}`);
process.stdin.on("end", () => process.exit(0)).resume();
