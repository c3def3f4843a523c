/**
 * With the backend iptables, programs that read the rules find what they know from the reference: nerdctl looks for ports in
 * use in CNI-HOSTPORT-DNAT, Lima and Rancher Desktop for ports to forward in the chains CNI-DN-*.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { expectSuccess, type JsonObject, referenceDirectory } from "../../testbed/harness.ts";
import { addressOf, type Mapping, type Node, type Pod, withNode } from "./portmap-lab.ts";

const MAPPINGS: readonly Mapping[] = [
  { hostPort: 8080, containerPort: 80, protocol: "tcp" },
  { hostPort: 8081, containerPort: 81, protocol: "udp", hostIP: "127.0.0.1" },
  { hostPort: 8082, containerPort: 82, protocol: "sctp" },
  { hostPort: 8083, containerPort: 83, protocol: "tcp", hostIP: addressOf("node", 6) },
  ...Array.from({ length: 16 }, (_, i) => ({ hostPort: 9000 + i, containerPort: 80, protocol: "udp" })),
];

const OPTIONS: readonly (readonly [string, JsonObject])[] = [
  ["no options", {}],
  ["masqAll", { masqAll: true }],
  ["without snat", { snat: false }],
  ["conditions", { conditionsV4: ["-s", "192.0.2.0/24"], conditionsV6: ["-s", "2001:db8::/32"] }],
];

/** The rules that say which ports there are, and where they lead, as `iptables -S` prints them. */
async function rulesRead(node: Node): Promise<string[]> {
  const rules: string[] = [];
  for (const program of ["iptables", "ip6tables"]) {
    const lines = (await node.host.exec(program, ["-t", "nat", "-S"])).split("\n");
    /* The reference also leads to a chain for ports of addresses that it has no rule for. */
    const ports = new Set(lines.flatMap((line) => /--dport (\d+) -j DNAT/.exec(line)?.[1] ?? []));
    const used = (line: string) => (/--dports (\S+)/.exec(line)?.[1] ?? "").split(",").some((port) => ports.has(port));
    rules.push(
      ...lines.filter((line) => line.includes("-j DNAT") || (/^-A CNI-HOSTPORT-DNAT /.test(line) && used(line))),
    );
    rules.push(...lines.filter((line) => line.startsWith("-N CNI-")));
  }
  return rules;
}

for (const [name, options] of OPTIONS) {
  test(`the rules that lead to pods are the reference's, word by word: ${name}`, { timeout: 240_000 }, async (ctx) => {
    if (!existsSync(join(referenceDirectory, "portmap"))) ctx.skip("the reference suite is not installed");
    await withNode({ portmap: { backend: "iptables", cniVersion: "1.0.0" } }, async (node) => {
      const pod = await node.bridged({ containerId: "cont-a", bridge: { cniVersion: "1.0.0" } });
      const config = node.portmapConfig(MAPPINGS, { prevResult: pod.bridged, ...options });
      const theirBin = { bin: referenceDirectory, timeoutMs: 120_000 };
      expectSuccess(await node.call("portmap", "ADD", pod, config, theirBin));
      const theirs = await rulesRead(node);
      expectSuccess(await node.call("portmap", "DEL", pod, config, theirBin));
      expectSuccess(await node.call("portmap", "ADD", pod, config));
      const ours = await rulesRead(node);
      const rules = (lines: readonly string[]) => lines.filter((line) => line.startsWith("-A"));
      expect(rules(ours)).toEqual(rules(theirs));
      /* Of the chains none is missing that the reference has. */
      expect(ours).toEqual(expect.arrayContaining(theirs));
      expect(theirs.filter((rule) => rule.includes("-j DNAT")).length).toBeGreaterThan(16);
    });
  });
}

test("CHECK and DEL of another interface in the same network take the first one's chain for what it is", () =>
  withNode({ portmap: { backend: "iptables" } }, async (node) => {
    const port = (hostPort: number): Mapping[] => [{ hostPort, containerPort: 80, protocol: "tcp" }];
    const first = await node.pod({ label: "web", mappings: port(8080) });
    const { netns, containerId } = first;
    const second: Pod = await node.pod({
      netns,
      containerId,
      ifname: "eth1",
      bridge: { isDefaultGateway: false, isGateway: true },
      mappings: port(8081),
    });
    await node.unpublish(second, port(8081));
    expectSuccess(await node.check(first, port(8080)));
    expect(await node.ask(node.client, addressOf("node", 4), 8080)).toMatch(/^web saw/);
  }));

test("CHECK of very many ports asks iptables once for a family", { timeout: 120_000 }, () =>
  withNode({ portmap: { backend: "iptables" } }, async (node) => {
    const mappings: Mapping[] = Array.from({ length: 1000 }, (_, i) => ({ hostPort: 20_000 + i, containerPort: 80 }));
    const pod = await node.pod({ mappings });
    const config = node.portmapConfig(mappings, { prevResult: pod.result });
    const through = ["strace", "-f", "-qq", "-e", "trace=execve", "-o", join(node.sandbox.directory, "trace")];
    expectSuccess(await node.call("portmap", "CHECK", pod, config, { through }));
    const trace = await node.host.exec("cat", [join(node.sandbox.directory, "trace")]);
    const programs = [...trace.matchAll(/execve\("([^"]*tables[^"]*)".* = 0/g)].map((match) =>
      match[1]?.split("/").at(-1),
    );
    expect(programs.map((name) => name?.replace(/.*-/, ""))).toEqual(["save", "save"]);
    /* And it sees a rule that is not as it was. */
    const rule = (await node.host.exec("iptables", ["-t", "nat", "-S"]))
      .split("\n")
      .find((line) => line.includes("--dport 20700 -j DNAT"));
    const changed = (rule ?? "").replace("-A ", "-D ").split(" ");
    await node.host.exec("iptables", ["-t", "nat", ...changed]);
    const result = await node.call("portmap", "CHECK", pod, config);
    expect(result.stdout).toContain("--dport 20700 -j DNAT");
  }),
);
