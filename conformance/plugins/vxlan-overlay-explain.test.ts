/** `vxlan-overlay explain`: what it prints is run as a script, and makes what a call makes. */
import { expect, test } from "vitest";
import { expectSuccess } from "../../testbed/harness.ts";
import { Cluster, type Datapath, type Node } from "./overlay-lab.ts";

const DEVICE = "overlay1";
const TABLE = "podwire_overlay1";

/** What a node has of the overlay, without the stamp and what is numbered. */
async function stateOf(node: Node): Promise<string> {
  const show = async (...command: [string, ...string[]]): Promise<string[]> => {
    const [program, ...args] = command;
    return (await node.netns.exec(program, args)).split("\n").map((line) => line.trim());
  };
  const lines = [
    ...(await show("ip", "-d", "-o", "link", "show", DEVICE)),
    ...(await show("ip", "-o", "address", "show", "dev", DEVICE)),
    ...(await show("ip", "-d", "route", "show", "proto", "112")),
    ...(await show("ip", "-6", "-d", "route", "show", "proto", "112")),
    ...(await show("ip", "neighbour", "show", "dev", DEVICE)),
    ...(await show("ip", "-6", "neighbour", "show", "dev", DEVICE)),
    ...(await show("bridge", "fdb", "show", "dev", DEVICE)),
    ...(await show("bridge", "-d", "vni", "show")),
    ...(await show("nft", "-s", "list", "table", "inet", TABLE)),
    ...(await show(
      "sysctl",
      `net.ipv4.conf.${DEVICE}.forwarding`,
      `net.ipv6.conf.${DEVICE}.forwarding`,
      "net.ipv4.ip_forward",
    )),
  ];
  const isOurs = (line: string): boolean => !/^(unicast )?2[45]\d\.|inet6 fe80:|33:33:|01:00:5e/.test(line);
  return lines
    .filter(isOurs)
    .sort()
    .join("\n")
    .replace(/^\d+: /gm, "")
    .replace(/qlen \d+|valid_lft.*/g, "");
}

async function explain(cluster: Cluster, node: Node, verb: string, extra = {}): Promise<string> {
  const result = await cluster.call(node, "", extra, { words: ["explain", verb] });
  expect([result.stdout, result.stderr, result.exitCode]).toEqual([expect.any(String), "", 0]);
  return result.stdout;
}

async function withCluster(datapath: Datapath, body: (cluster: Cluster, node: Node) => Promise<void>): Promise<void> {
  const cluster = await Cluster.create({
    nodes: 3,
    datapath,
    overlay: { clusterCIDRs: ["10.244.0.0/16", "fd44::/48"] },
  });
  try {
    const [node] = cluster.nodes;
    if (node === undefined) throw new Error("a cluster without nodes");
    await body(cluster, node);
  } finally {
    await cluster.remove();
  }
}

test.each<Datapath>(["classic", "gpe"])(
  "%s: the script makes what a call makes, and a call finds nothing to do",
  (datapath) =>
    withCluster(datapath, async (cluster, node) => {
      await cluster.tick(node);
      const made = await stateOf(node);
      await node.netns.exec("ip", ["link", "delete", DEVICE]);
      await node.netns.exec("nft", ["delete", "table", "inet", TABLE]);
      const script = await explain(cluster, node, "ADD");
      await node.netns.exec("sh", ["-ec", script]);
      expect(await stateOf(node)).toBe(made);
      const index = await node.netns.exec("ip", ["-o", "link", "show", DEVICE]);
      expect(await explain(cluster, node, "GC")).not.toMatch(/^(ip|nft|bridge|sysctl) /m);
      await cluster.tick(node);
      expect(await stateOf(node)).toBe(made);
      expect(await node.netns.exec("ip", ["-o", "link", "show", DEVICE])).toBe(index);
    }),
);

test.each<Datapath>(["classic", "gpe"])(
  "%s: a node less, a node more, another MTU: the script changes just that",
  (datapath) =>
    withCluster(datapath, async (cluster, node) => {
      const records = cluster.nodes.map(({ number }) => cluster.record(number));
      await cluster.writePeers(records.slice(0, 2));
      await cluster.tick(node);
      await cluster.writePeers([...records.slice(0, 1), ...records.slice(2)]);
      const script = await explain(cluster, node, "GC", { mtu: 1300 });
      const commands = script.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
      expect(commands).toContain(`ip link set ${DEVICE} mtu 1300`);
      expect(commands.filter((line) => line.startsWith("ip route del"))).toHaveLength(2);
      await node.netns.exec("sh", ["-ec", script]);
      const byHand = await stateOf(node);
      expectSuccess(await cluster.call(node, "GC", { mtu: 1300 }));
      expect(await stateOf(node)).toBe(byHand);
    }),
);

test("another VNI: the device and the table of the old one go", () =>
  withCluster("classic", async (cluster, node) => {
    await cluster.tick(node);
    await node.netns.exec("sh", ["-ec", await explain(cluster, node, "ADD", { vni: 7, port: 8473 })]);
    const links = await node.netns.exec("ip", ["-o", "link", "show", "type", "vxlan"]);
    expect(links).toMatch(/^\d+: overlay7: /);
    expect(links.trim().split("\n")).toHaveLength(1);
    const tables = await node.netns.exec("nft", ["list", "tables"]);
    expect(tables).toContain("table inet podwire_overlay7");
    expect(tables).not.toContain(TABLE);
  }));

test("a list that cannot be read, DEL, and a delegate", () =>
  withCluster("classic", async (cluster, node) => {
    await cluster.tick(node);
    const before = await stateOf(node);
    expect(await explain(cluster, node, "DEL")).toMatch(/^# the overlay is the node's/);
    const alone = await explain(cluster, node, "ADD", { delegate: cluster.delegate(node) });
    expect(alone).toContain("# the device overlay1: it is there already\n");
    expect(alone).toMatch(/^ip link add veth\w+ .* mtu 1450/m);
    const own = cluster.nodes.slice(0, 1).map(({ number }) => cluster.record(number));
    await cluster.writePeers(own, { generation: 7 });
    await cluster.tick(node);
    await cluster.writePeers(
      cluster.nodes.map(({ number }) => cluster.record(number)),
      { generation: 8 },
    );
    await cluster.tick(node);
    await cluster.writePeers(own, { generation: 7 });
    expect(await explain(cluster, node, "ADD")).toMatch(/^# the peers that are known stay: .*of generation 7/);
    await cluster.writePeers([], { generation: 9 });
    const held = await explain(cluster, node, "ADD");
    expect(held).toMatch(/^# the peers lack all of 2 nodes/m);
    expect(held).not.toMatch(/^ip route del/m);
    await cluster.replacePeers('{"generation":1,"complete":true,"peers":9}\n');
    expect(await explain(cluster, node, "ADD")).toMatch(/^# the peers that are known stay: /);
    expect(await stateOf(node)).toBe(before);
  }));
