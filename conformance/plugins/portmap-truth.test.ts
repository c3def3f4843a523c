/** Who reaches a published port, by which address of the node, and whom the pod sees: for every kind of client. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { addressOf, type Family, type Mapping, Node, type Pod } from "./portmap-lab.ts";
import { BRIEFLY, type Protocol } from "./traffic.ts";

const PROTOCOLS: readonly Protocol[] = ["tcp", "udp", "sctp"];

/** The columns: what hostIP says, and the port that is published so. */
const HOST_IPS = [
  ["no hostIP", 8080],
  ["0.0.0.0 or ::", 8081],
  ["the node's address", 8082],
  ["127.0.0.1 or ::1", 8083],
] as const;

const MAPPINGS: readonly Mapping[] = PROTOCOLS.flatMap((protocol) => [
  { hostPort: 8080, containerPort: 80, protocol },
  ...([4, 6] as const).flatMap((family) => [
    { hostPort: 8081, containerPort: 80, protocol, hostIP: addressOf("any", family) },
    { hostPort: 8082, containerPort: 80, protocol, hostIP: addressOf("node", family) },
    { hostPort: 8083, containerPort: 80, protocol, hostIP: addressOf("localhost", family) },
  ]),
]);

/** Whose address the pod sees; null if there is no answer. */
type Seen = "client" | "server" | "node" | "second" | "gateway" | "neighbour" | "stranger" | null;
type Position = "host" | "client" | "server" | "web" | "neighbour" | "stranger";

interface Row {
  readonly from: Position;
  readonly to: "localhost" | "node" | "second" | "gateway";
  /** For each column. */
  readonly seen: readonly Seen[];
}

/** A column that the address is not for answers nobody; else the client's own address wherever the answer finds back. */
function rows(family: Family, bridgeNf: boolean): Row[] {
  /* Without bridge-nf a pod's answer to its neighbour stays on the bridge, where nobody translates it back. */
  const neighbour = bridgeNf ? "neighbour" : "gateway";
  /* A packet from ::1 never leaves the host, whatever the packet filter does: Linux has no route_localnet for IPv6. */
  const localhost = family === 4 ? "gateway" : null;
  return [
    { from: "host", to: "localhost", seen: [localhost, localhost, null, localhost] },
    { from: "host", to: "node", seen: ["node", "node", "node", null] },
    { from: "host", to: "second", seen: ["second", "second", null, null] },
    { from: "host", to: "gateway", seen: ["gateway", "gateway", null, null] },
    { from: "web", to: "node", seen: ["gateway", "gateway", "gateway", null] },
    { from: "web", to: "second", seen: ["gateway", "gateway", null, null] },
    { from: "web", to: "gateway", seen: ["gateway", "gateway", null, null] },
    { from: "web", to: "localhost", seen: [null, null, null, null] },
    { from: "neighbour", to: "node", seen: [neighbour, neighbour, neighbour, null] },
    { from: "neighbour", to: "second", seen: [neighbour, neighbour, null, null] },
    { from: "neighbour", to: "gateway", seen: [neighbour, neighbour, null, null] },
    { from: "stranger", to: "node", seen: ["stranger", "stranger", "stranger", null] },
    { from: "stranger", to: "gateway", seen: ["stranger", "stranger", null, null] },
    { from: "client", to: "node", seen: ["client", "client", "client", null] },
    { from: "client", to: "second", seen: ["client", "client", null, null] },
    { from: "server", to: "node", seen: ["server", "server", "server", null] },
  ];
}

const NAMES: Record<Position, string> = {
  host: "the node",
  client: "a remote host",
  server: "a host behind another link",
  web: "the pod itself",
  neighbour: "another pod on the bridge",
  stranger: "a pod on another bridge",
};

const ON_OFF = [true, false];

describe.each(["nftables", "iptables"])("backend %s", (backend) => {
  describe.each(ON_OFF)("bridge-nf %s", (bridgeNf) => {
    let node: Node;
    let pods: Record<"web" | "neighbour" | "stranger", Pod>;

    beforeAll(async () => {
      node = await Node.create({ bridgeNf, portmap: { backend } });
      const other = {
        name: "pwt-other",
        bridge: "cni1",
        ipam: {
          type: "host-local",
          dataDir: node.sandbox.dataDir,
          ranges: [[{ subnet: "10.89.0.0/24" }], [{ subnet: "fd89::/64" }]],
        },
      };
      pods = {
        web: await node.pod({ label: "web", mappings: MAPPINGS }),
        neighbour: await node.pod({ portmap: null }),
        stranger: await node.pod({ portmap: null, bridge: other }),
      };
    });
    afterAll(() => node?.remove());

    function namespaceOf(position: Position) {
      if (position === "host" || position === "client" || position === "server") return node[position];
      return pods[position].netns;
    }

    function addressSeen(seen: Seen, family: Family): string | null {
      if (seen === null) return null;
      if (seen === "neighbour" || seen === "stranger") return family === 4 ? pods[seen].v4 : pods[seen].v6;
      return addressOf(seen, family);
    }

    describe.each([4, 6] as const)("IPv%s", (family) => {
      test.concurrent.each(
        rows(family, bridgeNf).map((row) => ({ ...row, name: `${NAMES[row.from]} by ${addressOf(row.to, family)}` })),
      )("$name", async ({ from, to, seen }) => {
        const cases = HOST_IPS.flatMap(([column, port], index) =>
          PROTOCOLS.map((protocol) => ({ column, port, protocol, expected: addressSeen(seen[index] ?? null, family) })),
        );
        const outcomes = await Promise.all(
          cases.map(({ port, protocol, expected }) =>
            node.ask(namespaceOf(from), addressOf(to, family), port, protocol, expected === null ? BRIEFLY : {}),
          ),
        );
        const table = (text: (index: number) => string) =>
          cases.map(({ column, protocol }, index) => `${column}, ${protocol}: ${text(index)}`);
        expect(table((index) => (/^web saw/.test(outcomes[index] ?? "") ? (outcomes[index] ?? "") : "nobody"))).toEqual(
          table((index) => (cases[index]?.expected ? `web saw ${cases[index].expected}` : "nobody")),
        );
      });
    });
  });
});
