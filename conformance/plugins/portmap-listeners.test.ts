/**
 * Ports that programs of the node listen on, and mappings that ask for the same: each kind of listener beside each kind of
 * mapping. What is more specific wins: a program keeps the one address it listens on, and loses nothing to a mapping for
 * all; who listens on all addresses is asked for none of them.
 */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess } from "../../testbed/harness.ts";
import { remains } from "./node-filter.ts";
import { addressOf, BACKENDS, type Family, type Mapping, type Node, type Pod, withNode } from "./portmap-lab.ts";
import type { Protocol } from "./traffic.ts";

const PORT = 8080;
/** Six mappings one after the other. */
const LONG = { timeout: 240_000 };
const node4 = addressOf("node", 4);
const node6 = addressOf("node", 6);
const second4 = addressOf("second", 4);
const second6 = addressOf("second", 6);

interface Listener {
  readonly name: string;
  /** Left out: all addresses of both families. */
  readonly address?: string;
  readonly only6?: boolean;
  readonly families: readonly Family[];
}

const LISTENERS: readonly Listener[] = [
  { name: "all addresses", families: [4, 6] },
  { name: "0.0.0.0", address: "0.0.0.0", families: [4] },
  { name: ":: for IPv6 alone", address: "::", only6: true, families: [6] },
  { name: "127.0.0.1", address: "127.0.0.1", families: [4] },
  { name: "127.0.0.53", address: "127.0.0.53", families: [4] },
  { name: "::1", address: "::1", families: [6] },
  { name: "a local address", address: second4, families: [4] },
  { name: "an IPv4 address by an IPv6 socket", address: `::ffff:${second4}`, families: [4] },
  { name: "a local IPv6 address", address: second6, families: [6] },
];

const isGeneral = ({ address }: Listener): boolean =>
  address === undefined || address === "0.0.0.0" || address === "::";
const plain = (address: string): string => address.replace("::ffff:", "");

/** The mappings, by hostIP; "" for all addresses of both families. */
const WANTED = ["", "0.0.0.0", "::", node4, node6, "own"] as const;

function familiesOf(hostIP: string): readonly Family[] {
  if (hostIP === "") return [4, 6];
  return [hostIP.includes(":") ? 6 : 4];
}

function mappingOf(protocol: Protocol, hostIP: string): Mapping {
  return { hostPort: PORT, containerPort: 80, protocol, ...(hostIP === "" ? {} : { hostIP }) };
}

/** What becomes of a mapping beside a listener. */
function fateOf(listener: Listener, hostIP: string): "refused" | "beside" | "unconcerned" {
  if (!familiesOf(hostIP).some((family) => listener.families.includes(family))) return "unconcerned";
  if (isGeneral(listener)) return "refused";
  if (["", "0.0.0.0", "::"].includes(hostIP)) return "beside";
  return hostIP === plain(listener.address ?? "") ? "refused" : "unconcerned";
}

async function listen(node: Node, protocol: Protocol, { address, only6 }: Listener): Promise<void> {
  const where = { ...(address === undefined ? {} : { address }), ...(only6 === undefined ? {} : { only6 }) };
  await node.traffic.serve({ netns: node.host, label: "program", port: PORT, protocol, ...where });
}

/** Asserts who answers: the program where it listens by itself, the pod everywhere else that was asked for. */
async function expectAnswers(node: Node, protocol: Protocol, listener: Listener, hostIP: string): Promise<void> {
  const own = isGeneral(listener) ? "" : plain(listener.address ?? "");
  if (own !== "") expect(await node.ask(node.host, own, PORT, protocol)).toMatch(/^program saw/);
  if (own === second4 || own === second6) {
    expect(await node.ask(node.client, own, PORT, protocol)).toMatch(/^program saw/);
  }
  for (const family of familiesOf(hostIP)) {
    expect(await node.ask(node.client, addressOf("node", family), PORT, protocol)).toMatch(/^web saw/);
    if (hostIP !== node4 && hostIP !== node6) {
      expect(await node.ask(node.host, addressOf("node", family), PORT, protocol)).toMatch(/^web saw/);
    }
  }
}

describe.each(BACKENDS)("backend %s", (backend) => {
  const options = { portmap: { backend } };

  for (const protocol of ["tcp", "udp"] as const) {
    describe(`a program of the node listens on ${protocol} of`, () => {
      test.each(LISTENERS.map((listener) => [listener.name, listener] as const))("%s", LONG, (_name, listener) =>
        withNode(options, async (node) => {
          await listen(node, protocol, listener);
          const pod = await node.bridged({ label: "web" });
          for (const wanted of WANTED) {
            if (wanted === "own" && isGeneral(listener)) continue;
            const hostIP = wanted === "own" ? plain(listener.address ?? "") : wanted;
            await tryMapping(node, pod, protocol, listener, hostIP);
          }
        }),
      );
    });
  }

  /* What the server of the laboratory reads of SCTP it reads without a socket that listens. */
  test("no address of SCTP: nothing is in the way of it", () =>
    withNode(options, async (node) => {
      await listen(node, "tcp", { name: "", families: [4, 6] });
      const web = await node.pod({ label: "web", mappings: [mappingOf("sctp", "")] });
      expect(await node.ask(node.client, node4, PORT, "sctp")).toMatch(/^web saw/);
      await node.removePod(web);
    }));

  test("last-wins: a program that listens on one address keeps it, one that listens on all loses the port", () =>
    withNode(options, async (node) => {
      const lastWins = { conflicts: "last-wins" };
      await listen(node, "tcp", { name: "", families: [4, 6] });
      await node.traffic.serve({
        netns: node.host,
        label: "program",
        port: 8081,
        protocol: "tcp",
        address: "127.0.0.53",
      });
      const mappings = [mappingOf("tcp", ""), { ...mappingOf("tcp", ""), hostPort: 8081 }];
      const pod = await node.pod({ label: "web", mappings, portmap: lastWins });
      expect(await node.ask(node.client, node4, PORT)).toMatch(/^web saw/);
      expect(await node.ask(node.client, node4, 8081)).toMatch(/^web saw/);
      expect(await node.ask(node.host, "127.0.0.53", 8081)).toMatch(/^program saw/);
      /* The next pod gets the port with what is left out of it. */
      const next = await node.pod({ label: "next", mappings, portmap: lastWins });
      expect(await node.ask(node.client, node4, 8081)).toMatch(/^next saw/);
      expect(await node.ask(node.host, "127.0.0.53", 8081)).toMatch(/^program saw/);
      await node.unpublish(pod, null, lastWins);
      expect(await node.ask(node.host, "127.0.0.53", 8081)).toMatch(/^program saw/);
      await node.removePod(next, null, { portmap: lastWins });
      expect(await remains(node).then((left) => left.filter((line) => !line.includes(pod.v4)))).toEqual([]);
    }));

  test("what a program keeps comes back after a flush, and goes with the pod", () =>
    withNode(options, async (node) => {
      await listen(node, "udp", { name: "", address: "127.0.0.53", families: [4] });
      const mappings = [mappingOf("udp", "")];
      const pod = await node.pod({ label: "web", mappings });
      await node.nft("flush", "ruleset");
      await node.repair();
      expect(await node.ask(node.host, "127.0.0.53", PORT, "udp")).toMatch(/^program saw/);
      expect(await node.ask(node.client, node4, PORT, "udp")).toMatch(/^web saw/);
      expectSuccess(await node.check(pod, mappings));
      await node.traffic.close(node.host);
      expectSuccess(await node.publish(pod, mappings));
      expect(await node.ask(node.host, "127.0.0.53", PORT, "udp")).toMatch(/^web saw/);
      await node.removePod(pod);
      expect(await remains(node)).toEqual([]);
    }));
});

async function tryMapping(node: Node, pod: Pod, protocol: Protocol, listener: Listener, hostIP: string): Promise<void> {
  const mapping = mappingOf(protocol, hostIP);
  const fate = fateOf(listener, hostIP);
  const result = await node.publish(pod, [mapping]);
  if (fate === "refused") {
    expectError(result, { code: 102, msg: /taken by process .*listening on/ });
    return;
  }
  expectSuccess(result);
  /* From elsewhere nobody gets to localhost. */
  if (!["127.0.0.1", "127.0.0.53", "::1"].includes(hostIP)) await expectAnswers(node, protocol, listener, hostIP);
  expectSuccess(await node.check(pod, [mapping]));
  await node.unpublish(pod, [mapping]);
  expect((await node.ruleset()).includes(`${PORT}`)).toBe(false);
}
