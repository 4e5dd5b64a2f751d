// A client on the npm package ws (Debian: node-ws). Its argument is JSON: {url, messages, close}, messages as {text} or {bytes}
// in base64; what it prints is JSON too: what came back, the extension that was agreed on, and how it was closed.
const WebSocket = require("ws");

const { url, messages, close } = JSON.parse(require("fs").readFileSync(0));
const got = [];
const client = new WebSocket(url);
let next = 0;

function goOn() {
  if (next < messages.length) {
    const { text, bytes } = messages[next++];
    client.send(text === undefined ? Buffer.from(bytes, "base64") : text);
  } else if (close) {
    client.close(...close);
  }
}

client.on("open", goOn);
client.on("message", (data, isBinary) => {
  got.push(isBinary ? { bytes: data.toString("base64") } : { text: data.toString() });
  goOn();
});
client.on("close", (code, reason) => {
  console.log(JSON.stringify({ got, extensions: client.extensions, closed: [code, reason.toString()] }));
});
