/**
 * What is kept of attachments in the packet filter, damaged or of another version: every kind of damage, and every call that
 * another pod, a timer or a person makes meanwhile. It may cost its own attachment something, and nobody else anything.
 */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { portsLeft, remains } from "../plugins/node-filter.ts";
import { addressOf, BACKENDS, type Mapping, type Node, type Pod, recordsOf, withNode } from "../plugins/portmap-lab.ts";

type Damage = (text: string) => string;

const port = (hostPort: number): Mapping[] => [{ hostPort, containerPort: 80, protocol: "tcp" }];

/** The text as a version without sums would have written it, and changed. */
const unsummed =
  (change: Damage): Damage =>
  (text) =>
    change(text.replace(/ sum [0-9a-f]+/, ""));
const line = (added: string): Damage => unsummed((text) => text.replace(/\nend\n/, `\n${added}\nend\n`));

const DAMAGES: Record<string, Damage> = {
  "nothing in it": () => "",
  "half of it": (text) => text.slice(0, text.length / 2),
  "its end missing": (text) => text.slice(0, -5),
  noise: (text) => [...text].map((character) => String.fromCharCode(character.charCodeAt(0) ^ 0x15)).join(""),
  "a later form": (text) => text.replace("record 1\n", "record 2\n"),
  "another container's name": (text) => text.replace(/^owner (\S+) \S+/m, "owner $1 somebody"),
  "a port changed": (text) => text.replaceAll(/80([89])1/g, "80$12"),
  "another port than its own": unsummed((text) => text.replaceAll("8081", "8082")),
  "a letter changed": (text) => text.replace("eth0", "eth1"),
  "a namespace that is none": unsummed((text) => text.replace(/^netns .*$/m, "netns x y z")),
  "a line of a later version": line("quota 17"),
  "a set of a later version": line("element inet quotas4 10.88.0.9 : 17"),
  "a table of a later version": line("element netdev limits 10.88.0.9"),
  "a key that is none": line("element inet hostports4 tcp . 99999 : 10.88.0.9 . 80"),
  "a key of other parts": line("element inet hostports4 8099 : 10.88.0.9 . 80"),
  "data that are none": line("element inet hostports4 tcp . 8099 : fd88::9 . 80"),
  "no data": line("element inet hostports4 tcp . 8099"),
  "a verdict that leads nowhere": line("element inet conditional4 tcp . 8099 : goto conditions-gone"),
  "a chain with a rule that is none": line("chain inet conditions-x\nrule once upon a time"),
  "a chain that leads nowhere": line("chain inet conditions-x\nrule meta nfproto ipv4 goto nowhere"),
  "a chain with a set of a later version": line("chain inet conditions-x\nrule ip saddr @quotas4 goto translate"),
  "a chain of the ruleset": line("chain inet translate\nrule meta nfproto ipv4 drop"),
  "an heir that is none": line("heir ../../../etc/passwd"),
  "rules for a table of somebody else": line("iptables 4 CNI-DN-0 -\niptables-rule filter INPUT last -j DROP"),
  "rules of a family that is none": line("iptables 9 CNI-DN-0 -\niptables-rule nat CNI-DN-0 last -j DROP"),
  "rules that iptables does not know": line(
    "iptables 4 CNI-DN-0 -\niptables-rule nat CNI-DN-0 last -p tcp --nonsense -j DNAT",
  ),
};

/** Of these it cannot be told which port it is; with iptables the kernel does not tell whose rules are, either. */
const UNTOLD = [
  "nothing in it",
  "half of it",
  "its end missing",
  "noise",
  "a later form",
  "a port changed",
  "another port than its own",
  "a namespace that is none",
];

/** Changes what is kept of a container by all plugins, or in files of one kind. */
async function damage(node: Node, containerId: string, change: Damage, kind = ""): Promise<void> {
  const directory = (await recordsOf(node.host)) ?? "";
  let changed = 0;
  for (const name of await readdir(directory)) {
    if (!name.endsWith(kind)) continue;
    const path = join(directory, name);
    const text = await readFile(path, "utf8");
    if (!text.includes(` ${containerId} `)) continue;
    await writeFile(path, change(text));
    changed += 1;
  }
  expect(changed).toBeGreaterThan(0);
}

describe.each(BACKENDS)("a record (%s) has", (backend) => {
  test.for(Object.entries(DAMAGES))("%s", { timeout: 240_000 }, ([name, change]) =>
    withNode({ portmap: { backend }, bridge: { ipMasq: true, ipMasqBackend: backend } }, async (node) => {
      const bad = await node.pod({ mappings: port(8081) });
      const good = await node.pod({ label: "good", mappings: port(8083) });
      const masked = await node.bridged();
      await damage(node, bad.containerId, change);

      /* With all that they made still in the kernel. */
      const third = await node.pod({ mappings: port(8084) });
      if (backend === "nftables" || !UNTOLD.includes(name)) {
        expectError(await node.publish(masked, port(8081)), { code: 102 });
      }
      expectSuccess(await node.check(good, port(8083)));
      expectSuccess(await node.call("portmap", "STATUS", good, node.portmapConfig(null)));
      expectSuccess(await node.call("bridge", "STATUS", good, node.bridgeConfig()));
      expect((await node.repair()).exitCode).toBe(0);
      expect(await portsLeft(node)).toEqual(expect.arrayContaining([8083, 8084]));

      /* After a flush, with nothing left but the records. */
      await node.nft("flush", "ruleset");
      const fourth = await node.pod({ mappings: port(8085) });
      expect(await node.ask(node.client, addressOf("node", 4), 8083)).toMatch(/^good saw/);
      await node.nft("flush", "ruleset");
      expect((await node.repair()).exitCode).toBe(0);
      for (const [pod, mappings] of [
        [good, port(8083)],
        [third, port(8084)],
        [fourth, port(8085)],
      ] as const) {
        expectSuccess(await node.check(pod, mappings));
      }

      /* GC keeps those that live on, and DEL takes them away one by one, the bad one's too. */
      const valid = [bad, good, third, fourth, masked].map(({ containerId, ifname }) => ({
        containerID: containerId,
        ifname,
      }));
      for (const plugin of ["portmap", "bridge"] as const) {
        const config = plugin === "portmap" ? node.portmapConfig(null) : node.bridgeConfig();
        const gc = { ...config, "cni.dev/valid-attachments": valid };
        expectSuccess(await node.call(plugin, "GC", good, gc));
      }
      expectSuccess(await node.check(good, port(8083)));
      await node.removePod(third, port(8084));
      expectSuccess(await node.publish(bad, port(8081)));
      expectSuccess(await node.check(bad, port(8081)));
      await damage(node, bad.containerId, change);
      for (const pod of [bad, good, fourth]) await node.removePod(pod);
      await node.removePod(masked, null, { portmap: null });
      expect(await remains(node)).toEqual([]);
    }),
  );
});

test("a damaged record of an attachment that lives no more goes with GC, and its ports with it", () =>
  withNode({ portmap: { backend: "nftables" } }, async (node) => {
    const [bad, good] = [await node.pod({ mappings: port(8081) }), await node.pod({ mappings: port(8083) })];
    await damage(node, bad.containerId, DAMAGES["a port changed"] ?? ((text) => text));
    const valid = [{ containerID: good.containerId, ifname: good.ifname }];
    const gc = node.portmapConfig(null, { "cni.dev/valid-attachments": valid });
    expectSuccess(await node.call("portmap", "GC", good, gc));
    expect(await portsLeft(node)).toEqual([8083]);
    expectSuccess(await node.check(good, port(8083)));
    await node.unpublish(good, port(8083));
    expect(await remains(node)).toEqual([]);
  }));

describe("a record of firewall's, and that of its bridge's policy, have", () => {
  const names = [
    "nothing in it",
    "half of it",
    "noise",
    "a later form",
    "another container's name",
    "a line of a later version",
  ];

  test.each([...names, "a table of a later version", "rules for a table of somebody else"])("%s", (name) =>
    withNode({}, async (node) => {
      const call = async (command: string, pod: Pod, extra: JsonObject = {}): Promise<void> => {
        const { containerId, ifname, netns, bridged } = pod;
        const base = { cniVersion: "1.1.0", name: node.network, type: "firewall", ingressPolicy: "isolated" };
        const who = { plugin: "firewall", command, containerId, ifname, netns: netns.path };
        expectSuccess(await node.sandbox.call({ ...who, config: { ...base, prevResult: bridged, ...extra } }));
      };
      const [bad, good, third] = [await node.bridged(), await node.bridged(), await node.bridged()];
      for (const pod of [bad, good]) await call("ADD", pod);
      const change = DAMAGES[name] ?? ((text) => text);
      await damage(node, bad.containerId, change);
      await damage(node, "-", change, ".ingress-policy");

      await call("ADD", third);
      for (const pod of [good, third]) await call("CHECK", pod);
      await node.nft("flush", "ruleset");
      await call("STATUS", good);
      expect((await node.repair()).exitCode).toBe(0);
      for (const pod of [good, third]) await call("CHECK", pod);

      const valid = [bad, good, third].map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
      await call("GC", good, { "cni.dev/valid-attachments": valid });
      await call("CHECK", good);
      await call("ADD", bad);
      await call("CHECK", bad);
      await damage(node, bad.containerId, change);
      await call("DEL", bad);
      await call("CHECK", good);
      await damage(node, "-", change, ".ingress-policy");
      await call("ADD", good, { ingressPolicy: "open" });
      expect(await node.ruleset()).not.toContain("- - cni0");
      for (const pod of [good, third]) await call("DEL", pod);
      expect(await remains(node)).toEqual([]);
    }),
  );
});
