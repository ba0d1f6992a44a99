// Asks the tools of an observer with the official client for TypeScript.
//
// Arguments: `http URL TOKEN`, or `stdio COMMAND ARGUMENTS…`. Prints a line of JSON.
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const {
  StreamableHTTPClientTransport,
} = require("@modelcontextprotocol/sdk/client/streamableHttp.js");

const KNOWN = "3e83e8f191d886d8";

function transport([kind, first, ...rest]) {
  if (kind === "stdio") return new StdioClientTransport({ command: first, args: rest });
  const headers = { Authorization: `Bearer ${rest[0]}` };
  return new StreamableHTTPClientTransport(new URL(first), { requestInit: { headers } });
}

async function main() {
  const client = new Client({ name: "test", version: "1" });
  await client.connect(transport(process.argv.slice(2)));
  const { tools } = await client.listTools();
  const history = await client.callTool({ name: "history", arguments: { sig_hash: KNOWN } });
  const wrong = await client.callTool({ name: "problems", arguments: { limit: 0 } });
  const answer = (result) => [result.isError === true, result.content[0].text];
  const report = {
    protocol: client.transport.protocolVersion ?? "unknown",
    tools: tools.map((tool) => tool.name),
    history: answer(history),
    wrong: answer(wrong),
  };
  console.log(JSON.stringify(report));
  await client.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
